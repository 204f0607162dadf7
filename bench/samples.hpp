// How a benchmark tells what it measured over several rounds: best, median and percentiles, and ratios between two that
// took turns.
//
// What is measured are times, so the best is the least. Ratios of them may mean a speed (limit over value) or a cost.
//
// Threading: pure functions. Units: whatever the caller's figures have.
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

namespace asterias::bench {

using Json = nlohmann::ordered_json;

// The value below which a share of `values` lies, the nearest rank; the least for 0. REQUIRES: not empty, share in [0,
// 1].
double percentile(std::vector<double> values, double share);

// {"best", "p10", "median", "p90", "count"}. REQUIRES: not empty.
Json distribution(const std::vector<double>& values);

// values[i] / limits[i]. REQUIRES: as many of both.
std::vector<double> ratios(const std::vector<double>& values, const std::vector<double>& limits);

// The distribution of the rounds' ratios, but `best` is the ratio of the bests: {"best", "median", ...}. REQUIRES: as
// many of both, not empty.
Json compared(const std::vector<double>& values, const std::vector<double>& limits);

}  // namespace asterias::bench
