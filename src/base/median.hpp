// The middle of some measurements: what one disturbed round cannot move.
//
// Threading: pure function.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace asterias {

// Of an even number, the mean of the middle two. REQUIRES: not empty.
inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace asterias
