// The operations of the formulas (adam_math.hpp, codec_math.hpp) on single floats, in portable C++: the reference that
// the vectors of vector_ops-inl.hpp and the CUDA kernels (cuda/cuda_ops.cuh) agree with bit for bit.
//
// Threading: stateless.
#pragma once

#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "hybrid_adam/dynamic_code.hpp"
#include "hybrid_adam/host_device.hpp"

namespace asterias::hybrid_adam::portable {

// Decodes an IEEE half exactly. A half's exponent and fraction, moved to where a float has them, are 2^112 too small,
// so denormals come out right as well (in the default IEEE mode, ieee_mode.hpp).
ASTERIAS_HD inline float float_from_float16(std::uint16_t half) {
  constexpr std::uint32_t kInfinity = 0x7f800000;
  const std::uint32_t sign = (half & 0x8000u) << 16, magnitude = (half & 0x7fffu) << 13;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  if (magnitude >= 0x0f800000) bits = magnitude | kInfinity;  // infinity and NaN
  return std::bit_cast<float>(bits | sign);
}

// Rounds to the nearest IEEE half, ties to even; NaN keeps its sign.
ASTERIAS_HD inline std::uint16_t float16_from_float(float x) {
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

  ASTERIAS_HD static V set(float x) { return x; }
  ASTERIAS_HD static V add(V a, V b) { return a + b; }
  ASTERIAS_HD static V sub(V a, V b) { return a - b; }
  ASTERIAS_HD static V mul(V a, V b) { return a * b; }
  ASTERIAS_HD static V mul_add(V a, V b, V c) { return std::fma(a, b, c); }
  ASTERIAS_HD static V sqrt(V x) { return std::sqrt(x); }
  ASTERIAS_HD static V div(V a, V b) { return a / b; }
  ASTERIAS_HD static V flush_tiny(V x) { return std::fabs(x) < FLT_MIN ? 0.0f : x; }

  // A float's square is exact in double, so fused with the addition or not it is the same.
  ASTERIAS_HD static double add_square(double sum, V x) {
    return sum + static_cast<double>(x) * static_cast<double>(x);
  }

  ASTERIAS_HD static V abs(V x) { return std::fabs(x); }
  ASTERIAS_HD static V max(V a, V b) { return a > b ? a : b; }
  ASTERIAS_HD static V number_or(V x, V otherwise) { return x == x ? x : otherwise; }
  ASTERIAS_HD static U bits(V x) { return std::bit_cast<U>(x); }
  ASTERIAS_HD static V from_bits(U x) { return std::bit_cast<V>(x); }
  ASTERIAS_HD static U set_bits(std::uint32_t x) { return x; }
  ASTERIAS_HD static U count_from(std::uint32_t first) { return first; }
  ASTERIAS_HD static U add_bits(U a, U b) { return a + b; }
  ASTERIAS_HD static U and_bits(U a, U b) { return a & b; }
  ASTERIAS_HD static U xor_bits(U a, U b) { return a ^ b; }
  ASTERIAS_HD static U mul_bits(U a, U b) { return a * b; }
  ASTERIAS_HD static U min_bits(U a, U b) { return a < b ? a : b; }
  ASTERIAS_HD static U max_bits(U a, U b) { return a > b ? a : b; }
  ASTERIAS_HD static U power_of_two(U exponent) { return U{1} << exponent; }
  template <int kBits>
  ASTERIAS_HD static U shift_left(U x) {
    return x << kBits;
  }
  template <int kBits>
  ASTERIAS_HD static U shift_right(U x) {
    return x >> kBits;
  }
  ASTERIAS_HD static std::uint32_t largest_lane(U x) { return x; }
  ASTERIAS_HD static U scaled_high_half(U x, std::uint32_t base, std::uint32_t factor) {
    return ((x >> 16) < base ? 0 : (x >> 16) - base) * factor >> 16;
  }

  ASTERIAS_HD static V load(const float* from) { return *from; }
  ASTERIAS_HD static void store(V x, float* to) { *to = x; }
  ASTERIAS_HD static U load_16(const std::uint16_t* from) { return *from; }
  ASTERIAS_HD static V load_float16(const std::uint16_t* from) { return float_from_float16(*from); }
  ASTERIAS_HD static V load_signed_8(const std::uint8_t* from) { return static_cast<std::int8_t>(*from); }
  ASTERIAS_HD static V load_unsigned_8(const std::uint8_t* from) { return *from; }
  // Where the constants of the 8-bit code lie.
  template <bool kSigned>
  static const DynamicCode& code() {
    return kSigned ? kSignedCode : kUnsignedCode;
  }
  ASTERIAS_HD static Table load_table(const float* entries) { return entries; }
  ASTERIAS_HD static V lookup(Table table, U index) { return table[index % 8]; }
  ASTERIAS_HD static U add_one_where_ge(U x, V a, V b) { return x + (a >= b ? 1 : 0); }
  ASTERIAS_HD static void store_16(U x, std::uint16_t* to) { *to = static_cast<std::uint16_t>(x); }
  ASTERIAS_HD static void store_float16(V x, std::uint16_t* to) { *to = float16_from_float(x); }
  // The low byte of n where x is not negative, else of -min(n, 127).
  ASTERIAS_HD static std::uint8_t signed_byte(U n, V x) {
    const U magnitude = n & 255u;
    return static_cast<std::uint8_t>(bits(x) >> 31 ? 0u - min_bits(magnitude, 127u) : magnitude);
  }
  ASTERIAS_HD static void store_bytes(const U (&n)[4], std::uint8_t* to) {
    for (int k = 0; k < 4; ++k) to[k] = static_cast<std::uint8_t>(n[k]);
  }
  ASTERIAS_HD static void store_signed_bytes(const U (&n)[4], const V (&x)[4], std::uint8_t* to) {
    for (int k = 0; k < 4; ++k) to[k] = signed_byte(n[k], x[k]);
  }
};

}  // namespace asterias::hybrid_adam::portable
