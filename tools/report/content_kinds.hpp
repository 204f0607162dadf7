// The kinds of content and the tiers, in the order of the pictures and in words for readers.
//
// Threading: constants and pure functions.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace asterias::tools::report {

// A kind as logs and colours name it, and as a legend does.
struct ContentKindName {
  const char* name;
  const char* reads;
};

// From the bottom of a stack: what never moves first.
inline constexpr ContentKindName kStackedKinds[] = {{"libraries", "libraries"},
                                                    {"other", "other, unmovable"},
                                                    {"param", "param"},
                                                    {"master", "master"},
                                                    {"grad", "grad"},
                                                    {"exp_avg", "exp_avg"},
                                                    {"exp_avg_sq", "exp_avg_sq"},
                                                    {"activations", "activations"}};

inline constexpr const char* kTiers[] = {"gpu", "cpu", "nvme"};

inline std::string tier_name_for_readers(const std::string& tier) {
  return tier == "gpu"    ? "gpu (compute tier)"
         : tier == "cpu"  ? "cpu (DRAM)"
         : tier == "nvme" ? "nvme (swap files)"
                          : tier;
}

// NaN when nothing is finite.
inline double highest_of(const std::vector<double>& values) {
  double highest = std::numeric_limits<double>::quiet_NaN();
  for (const double value : values)
    if (std::isfinite(value)) highest = std::fmax(highest, value);
  return highest;
}

}  // namespace asterias::tools::report
