// Puts neighbouring samples of a chart together until it has few enough to draw.
//
// Threading: pure functions.
#pragma once

#include <cstddef>
#include <vector>

#include "tools/report/chart.hpp"

namespace asterias::tools::report {

// A run of neighbouring samples, [first, last).
struct Bucket {
  std::size_t first, last;
};

// Divides `num_samples` evenly into at most `most` (> 0) runs, none of them empty.
std::vector<Bucket> buckets(std::size_t num_samples, std::size_t most);

struct Spread {
  double mean, low, high;  // NaN when no value of the bucket is finite
};

// Over the finite values of a bucket; values beyond the end of `values` are missing.
Spread spread_of(const std::vector<double>& values, Bucket bucket);

// The chart with one mean per bucket, x included.
Chart averaged(const Chart& chart);

// The chart with the sample of the largest sum per bucket.
Chart at_peaks(const Chart& chart);

// What a stacked picture adds up: 0 for what is missing, negative or not finite.
double stackable(const std::vector<double>& values, std::size_t at);
double stacked_total(const Chart& chart, std::size_t at);

}  // namespace asterias::tools::report
