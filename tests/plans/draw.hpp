// Random choices that repeat: the same stream of the same seed and number gives the same ones, on every machine.
//
// Threading: one owner.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <random>

namespace asterias::plans {

class Draw {
 public:
  Draw(std::uint64_t seed, std::uint64_t number) {
    std::seed_seq words{seed, seed >> 32, number, number >> 32};
    random_.seed(words);
  }

  // Not the standard distributions, which differ between libraries.
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(int percent) { return between(1, 100) <= percent; }
  double share() { return static_cast<double>(between(0, 1'000'000)) / 1e6; }

  // As many draws between 1 and 2 as between 1000 and 2000.
  std::int64_t of_any_size(std::int64_t low, std::int64_t high) {
    const double log_low = std::log2(static_cast<double>(low));
    const double log_high = std::log2(static_cast<double>(high));
    return std::llround(std::exp2(log_low + share() * (log_high - log_low)));
  }

  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return *std::next(choices.begin(), between(0, static_cast<std::int64_t>(choices.size()) - 1));
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace asterias::plans
