#include "tools/report/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace asterias::tools::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double value_at(const std::vector<double>& values, std::size_t at) { return at < values.size() ? values[at] : kNaN; }

// The chart with the samples that `pick` gives for each bucket: pick(values, bucket).
// Lines over a stack keep their highest: they are peaks.
template <class Pick>
Chart reduced(const Chart& chart, const Pick& pick) {
  Chart less = chart;
  const auto reduce = [&](std::vector<double>& values, const auto& take) {
    std::vector<double> out;
    for (const Bucket& bucket : buckets(chart.x.size(), kMostSamples)) out.push_back(take(values, bucket));
    values = std::move(out);
  };
  reduce(less.x, pick);
  for (auto& series : less.series) reduce(series.values, pick);
  for (auto& line : less.lines)
    reduce(line.values, [](const auto& values, Bucket bucket) { return spread_of(values, bucket).high; });
  return less;
}

}  // namespace

std::vector<Bucket> buckets(std::size_t num_samples, std::size_t most) {
  std::vector<Bucket> all;
  const std::size_t count = std::min(num_samples, most);
  for (std::size_t i = 0; i < count; ++i) all.push_back({i * num_samples / count, (i + 1) * num_samples / count});
  return all;
}

Spread spread_of(const std::vector<double>& values, Bucket bucket) {
  Spread spread{0, kNaN, kNaN};
  double count = 0;
  for (std::size_t i = bucket.first; i < bucket.last; ++i) {
    const double value = value_at(values, i);
    if (!std::isfinite(value)) continue;
    spread.low = std::fmin(spread.low, value);
    spread.high = std::fmax(spread.high, value);
    ++count;
    spread.mean += (value - spread.mean) / count;
  }
  if (count == 0) spread.mean = kNaN;
  return spread;
}

Chart averaged(const Chart& chart) {
  return reduced(chart, [](const auto& values, Bucket bucket) { return spread_of(values, bucket).mean; });
}

Chart at_peaks(const Chart& chart) {
  return reduced(chart, [&](const auto& values, Bucket bucket) {
    std::size_t peak = bucket.first;
    for (std::size_t i = bucket.first; i < bucket.last; ++i)
      if (stacked_total(chart, i) > stacked_total(chart, peak)) peak = i;
    return value_at(values, peak);
  });
}

double stackable(const std::vector<double>& values, std::size_t at) {
  const double value = value_at(values, at);
  return std::isfinite(value) && value > 0 ? value : 0;
}

double stacked_total(const Chart& chart, std::size_t at) {
  double total = 0;
  for (const auto& series : chart.series) total += stackable(series.values, at);
  return total;
}

}  // namespace asterias::tools::report
