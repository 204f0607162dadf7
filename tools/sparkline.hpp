// A curve in a line of text.
//
// Threading: pure function; Curve is thread-compatible.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace asterias::tools {

// Values in the order they came, as means over equal runs of them: however many come, it keeps kMaxPoints at most.
class Curve {
 public:
  static constexpr std::size_t kMaxPoints = 64;

  void add(double value);

  // The means; the last one may be over fewer values.
  std::vector<double> points() const;

 private:
  std::vector<double> means_;  // complete ones
  std::int64_t values_per_mean_ = 1;
  double sum_ = 0;  // of the run that is not complete
  std::int64_t num_in_sum_ = 0;
};

// Draws values as blocks of eight heights, or in ASCII, between their least and their largest. Equal values are drawn
// low, values that are not finite as a space.
std::string sparkline(std::span<const double> values, bool has_unicode);

}  // namespace asterias::tools
