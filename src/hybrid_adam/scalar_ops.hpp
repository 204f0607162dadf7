// The operations of the formulas (adam_math.hpp, codec_math.hpp) on single floats, in portable C++: the reference that
// the vectors of vector_ops-inl.hpp agree with bit for bit.
//
// Threading: stateless.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace asterias::hybrid_adam::portable {

// Decodes an IEEE half exactly. A half's exponent and fraction, moved to where a float has them, are 2^112 too small,
// so denormals come out right as well (in the default IEEE mode, ieee_mode.hpp).
inline float float_from_float16(std::uint16_t half) {
  constexpr std::uint32_t kInfinity = 0x7f800000;
  const std::uint32_t sign = (half & 0x8000u) << 16, magnitude = (half & 0x7fffu) << 13;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  if (magnitude >= 0x0f800000) bits = magnitude | kInfinity;  // infinity and NaN
  return std::bit_cast<float>(bits | sign);
}

// Rounds to the nearest IEEE half, ties to even; NaN keeps its sign.
inline std::uint16_t float16_from_float(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const auto with_sign = [sign](std::uint32_t half) { return static_cast<std::uint16_t>(half | sign); };
  if (magnitude > 0x7f800000) return with_sign(0x7e00);   // NaN
  if (magnitude >= 0x477ff000) return with_sign(0x7c00);  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {                           // below 2^-14: a multiple of 2^-24, which is the ulp of 0.5
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return with_sign(std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u);
  }
  return with_sign((magnitude + 0xfffu + (magnitude >> 13 & 1u) - 0x38000000u) >> 13);
}

// Without -mfma std::fma is a call into libm, which is exact on every machine.
struct ScalarOps {
  using V = float;
  using U = std::uint32_t;
  using Table = const float*;
  static constexpr std::size_t kLanes = 1;

  static V set(float x) { return x; }
  static V add(V a, V b) { return a + b; }
  static V sub(V a, V b) { return a - b; }
  static V mul(V a, V b) { return a * b; }
  static V mul_add(V a, V b, V c) { return std::fma(a, b, c); }
  static V sqrt(V x) { return std::sqrt(x); }
  static V div(V a, V b) { return a / b; }
  static V flush_tiny(V x) { return std::fabs(x) < FLT_MIN ? 0.0f : x; }

  static V abs(V x) { return std::fabs(x); }
  static V max(V a, V b) { return a > b ? a : b; }
  static V number_or(V x, V otherwise) { return x == x ? x : otherwise; }
  static U bits(V x) { return std::bit_cast<U>(x); }
  static V from_bits(U x) { return std::bit_cast<V>(x); }
  static U set_bits(std::uint32_t x) { return x; }
  static U count_from(std::uint32_t first) { return first; }
  static U add_bits(U a, U b) { return a + b; }
  static U and_bits(U a, U b) { return a & b; }
  static U xor_bits(U a, U b) { return a ^ b; }
  static U mul_bits(U a, U b) { return a * b; }
  static U min_bits(U a, U b) { return a < b ? a : b; }
  static U max_bits(U a, U b) { return a > b ? a : b; }
  static U power_of_two(U exponent) { return U{1} << exponent; }
  template <int kBits>
  static U shift_left(U x) {
    return x << kBits;
  }
  template <int kBits>
  static U shift_right(U x) {
    return x >> kBits;
  }
  static std::uint32_t largest_lane(U x) { return x; }
  static U scaled_high_half(U x, std::uint32_t base, std::uint32_t factor) {
    return ((x >> 16) < base ? 0 : (x >> 16) - base) * factor >> 16;
  }

  static V load(const float* from) { return *from; }
  static void store(V x, float* to) { *to = x; }
  static U load_16(const std::uint16_t* from) { return *from; }
  static V load_float16(const std::uint16_t* from) { return float_from_float16(*from); }
  static V load_signed_8(const std::uint8_t* from) { return static_cast<std::int8_t>(*from); }
  static V load_unsigned_8(const std::uint8_t* from) { return *from; }
  static Table load_table(const float* entries) { return entries; }
  static V lookup(Table table, U index) { return table[index % 8]; }
  static U add_one_where_ge(U x, V a, V b) { return x + (a >= b ? 1 : 0); }
  static void store_16(U x, std::uint16_t* to) { *to = static_cast<std::uint16_t>(x); }
  static void store_float16(V x, std::uint16_t* to) { *to = float16_from_float(x); }
  static void store_bytes(const U (&n)[4], std::uint8_t* to) {
    for (int k = 0; k < 4; ++k) to[k] = static_cast<std::uint8_t>(n[k]);
  }
  static void store_signed_bytes(const U (&n)[4], const V (&x)[4], std::uint8_t* to) {
    for (int k = 0; k < 4; ++k) {
      const U magnitude = n[k] & 255u;
      to[k] = static_cast<std::uint8_t>(std::signbit(x[k]) ? 0u - std::min(magnitude, 127u) : magnitude);
    }
  }
};

}  // namespace asterias::hybrid_adam::portable
