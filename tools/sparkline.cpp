#include "tools/sparkline.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace asterias::tools {
namespace {

constexpr std::size_t kNumHeights = 8;
constexpr std::array<const char*, kNumHeights> kBlocks{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::array<const char*, kNumHeights> kAscii{"_", ".", ",", "-", "~", "=", "*", "#"};

}  // namespace

void Curve::add(double value) {
  sum_ += value;
  if (++num_in_sum_ < values_per_mean_) return;
  means_.push_back(sum_ / static_cast<double>(num_in_sum_));
  sum_ = 0;
  num_in_sum_ = 0;
  if (means_.size() < kMaxPoints) return;
  for (std::size_t i = 0; i < kMaxPoints / 2; ++i) means_[i] = (means_[2 * i] + means_[2 * i + 1]) / 2;
  means_.resize(kMaxPoints / 2);
  values_per_mean_ *= 2;
}

std::vector<double> Curve::points() const {
  auto points = means_;
  if (num_in_sum_ > 0) points.push_back(sum_ / static_cast<double>(num_in_sum_));
  return points;
}

std::string sparkline(std::span<const double> values, bool has_unicode) {
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    least = std::min(least, value);
    largest = std::max(largest, value);
  }
  std::string line;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      line += ' ';
      continue;
    }
    const double height = largest > least ? (value - least) / (largest - least) : 0;
    const auto index = std::min(kNumHeights - 1, static_cast<std::size_t>(height * kNumHeights));
    line += has_unicode ? kBlocks[index] : kAscii[index];
  }
  return line;
}

}  // namespace asterias::tools
