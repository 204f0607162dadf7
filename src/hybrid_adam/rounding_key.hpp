// The noise of stochastic rounding: a function of (seed, step, parameter, element in its tensor) and of nothing else,
// so that chunks, threads, tiers, SIMD width and cuts into calls do not show, and a step that is repeated repeats it.
//
// RoundingKey carries the first three, mixed; codec_math.hpp hashes the element under it with two rounds of multiply
// and xor-shift whose constants Wellons found by search for the least bias (github.com/skeeto/hash-prospector,
// "lowbias32", exact bias 0.107), half of the key entering before each round: about ten instructions a vector, where
// Philox4x32-10 takes forty. It rounds; it is no source of random numbers for anything else.
//
// Threading: immutable values.
#pragma once

#include <cstdint>

namespace asterias::hybrid_adam {

struct RoundingKey {
  std::uint64_t bits = 0;

  friend bool operator==(const RoundingKey&, const RoundingKey&) = default;
};

// The 64-bit finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input changes half of the output's.
constexpr std::uint64_t mix_64(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

// Mixes the run's seed, the parameter's step (as make_update_constants counts it) and a number that names the parameter
// for good: its index in named_parameters().
constexpr RoundingKey make_rounding_key(std::uint64_t seed, std::uint64_t step, std::uint64_t parameter) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15u;
  return {mix_64(mix_64(mix_64(seed + kGolden) ^ (step + kGolden)) ^ (parameter + kGolden))};
}

// The key of 2^32 elements: those whose index has `high` as its upper half.
constexpr std::uint64_t key_of_span(RoundingKey key, std::uint64_t high) { return mix_64(key.bits + high); }

}  // namespace asterias::hybrid_adam
