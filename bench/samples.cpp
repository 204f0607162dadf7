#include "bench/samples.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "base/median.hpp"

namespace asterias::bench {
namespace {

double least(const std::vector<double>& values) { return *std::min_element(values.begin(), values.end()); }

}  // namespace

double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::max<std::size_t>(rank, 1) - 1];
}

Json distribution(const std::vector<double>& values) {
  return {{"best", least(values)},
          {"p10", percentile(values, 0.1)},
          {"median", median(values)},
          {"p90", percentile(values, 0.9)},
          {"count", values.size()}};
}

std::vector<double> ratios(const std::vector<double>& values, const std::vector<double>& limits) {
  std::vector<double> all;
  for (std::size_t i = 0; i < values.size(); ++i) all.push_back(values[i] / limits[i]);
  return all;
}

Json compared(const std::vector<double>& values, const std::vector<double>& limits) {
  Json json = distribution(ratios(values, limits));
  json["best"] = least(values) / least(limits);
  return json;
}

}  // namespace asterias::bench
