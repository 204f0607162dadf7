// The 8-bit codes of block-wise quantised moments: which number in [-1, 1] each byte stands for, and the constants by
// which codec_math.hpp decodes a byte and finds the nearest code without a search.
//
// The numbers are bitsandbytes' dynamic map (create_dynamic_map of bitsandbytes/functional.py; Dettmers, Lewis,
// Shleifer and Zettlemoyer 2022, "8-bit Optimizers via Block-wise Quantization"): 0, 1, and in each decade (10^(i-7),
// 10^(i-6)], i = 0..6, the centres of 2^i (signed) or 2^(i+1) (unsigned) equal parts of its upper nine tenths; the
// signed map has the negatives of all but 1 as well. Bytes: the unsigned byte is bitsandbytes' index; the signed byte
// is that index less 127 (modulo 256), so that byte 0 is the number 0 in both: -n for n <= 127 as in two's complement,
// and 0x80 for +1.
//
// The unsigned code departs from bitsandbytes in one thing: what lies between 0 and the smallest number, 3.25e-7,
// rounds up to it. There exp_avg_sq would become 0 and the next update of that element be divided by the new gradient
// and eps alone, however small these are; so it is too small instead, by the square root of what was added.
//
// Each decade is a line: number(n) = base + n * step. Its two constants are rounded to a few bits, at most 6e-6 of a
// number away from bitsandbytes' (a thousandth of the distance to the next), so that everything that decides is exact
// in float:
//   * numbers, and the middles between numbers of a decade, are floats without rounding;
//   * y - first is exact for every float y of the decade, and rounding (y - first) * inverse_step to an integer (by a
//     fused addition of 1.5 * 2^23) gives how many numbers of the decade lie below the nearest, a tie the larger
//     magnitude. dynamic_code_test.cpp proves the last for every float: it checks both neighbours of each of the 381
//     middles, and the formula is monotone between them.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace asterias::hybrid_adam {

// Added to an integer of small magnitude it leaves that integer in the low bits of the float.
inline constexpr float kIntegerBits = 0x1.8p+23f;

// The constants of one map, by group. Groups 1 to 6 (unsigned: 1 to 7) are decades; group 0 holds 0, in the signed map
// the smallest number, too; the last group, 7 (unsigned: 8), holds 1. Group g has at most 2^g numbers, n from 2^g
// (unsigned: 2^g - 1) on. Every table has 8 entries, looked up modulo 8, so the unsigned map's last group meets its
// first, which the same constants serve.
struct DynamicCode {
  using Table = std::array<float, 8>;

  // Decoding of n (unsigned: of n + 1): entry (127 + g) % 8, which are the low bits of the exponent of n as a float.
  Table step, base;

  // Encoding of y in [0, 1]: entry g.
  Table next;          // the smallest float of the next group: as near to its numbers as to these, or nearer
  Table first;         // the group's smallest number; 0 where the group is one number and inverse_step is 0
  Table inverse_step;  // 1 / step, rounded so that the nearest integer is right

  // The group of y is ((bits(y) >> 16) - group_base) * group_factor >> 16 (0 if negative) or the one after it.
  std::uint32_t group_base, group_factor;
};

// One decade: its smallest number, the distance between two, and the inverse of that.
struct Decade {
  float first, step, inverse_step;
  int count;
};

// Rounds up to a float.
constexpr float round_up_to_float(double x) {
  const float nearest = static_cast<float>(x);
  return nearest >= x ? nearest : std::bit_cast<float>(std::bit_cast<std::uint32_t>(nearest) + 1);
}

namespace detail {

constexpr double last_of(const Decade& d) { return static_cast<double>(d.first) + d.step * (d.count - 1.0); }

// Fills group `g` from a decade whose first number is decoded from `n`.
constexpr void set_group(DynamicCode& code, std::size_t g, const Decade& decade, int n) {
  code.step[(127 + g) % 8] = decade.step;
  code.base[(127 + g) % 8] = static_cast<float>(decade.first - static_cast<double>(decade.step) * n);
  code.first[g % 8] = decade.first;
  code.inverse_step[g % 8] = decade.inverse_step;
}

constexpr float middle(double below, double above) { return round_up_to_float(0.5 * (below + above)); }

}  // namespace detail

inline constexpr std::array<Decade, 7> kSignedDecades{{{0x1.27477p-21f, 0x1.27477p-21f, 0x1.bbe458p+20f, 1},
                                                       {0x1.b43520p-19f, 0x1.2dfd68p-18f, 0x1.b20720p+17f, 2},
                                                       {0x1.648410p-16f, 0x1.797cc0p-16f, 0x1.5b38e8p+15f, 4},
                                                       {0x1.47ae20p-13f, 0x1.d7dc00p-14f, 0x1.15c716p+13f, 8},
                                                       {0x1.4fdf40p-10f, 0x1.26e980p-11f, 0x1.bc71bep+10f, 16},
                                                       {0x1.75c280p-7f, 0x1.70a400p-9f, 0x1.638e12p+8f, 32},
                                                       {0x1.b66640p-4f, 0x1.cccd00p-7f, 0x1.1c71a8p+6f, 64}}};

inline constexpr std::array<Decade, 7> kUnsignedDecades{{{0x1.5cf750p-22f, 0x1.e32f10p-22f, 0x1.0f4472p+21f, 2},
                                                         {0x1.1d3670p-19f, 0x1.2dfd70p-19f, 0x1.b20714p+18f, 4},
                                                         {0x1.0624e0p-16f, 0x1.797cc0p-17f, 0x1.5b38e8p+16f, 8},
                                                         {0x1.0cb2a0p-13f, 0x1.d7dc00p-15f, 0x1.15c716p+14f, 16},
                                                         {0x1.2b0200p-10f, 0x1.26e980p-12f, 0x1.bc71bep+11f, 32},
                                                         {0x1.5eb840p-7f, 0x1.70a400p-10f, 0x1.638e12p+9f, 64},
                                                         {0x1.a80080p-4f, 0x1.cccc00p-8f, 0x1.1c7246p+7f, 128}}};

// Group 0 is the line through 0 and the smallest number, which is n = 1 = 2^0; 0 is one step below. The byte of 1 has
// the sign set: decoding gives -1 and the sign turns it.
constexpr DynamicCode make_signed_code() {
  DynamicCode code{};
  code.group_base = 13592;
  code.group_factor = 156;
  for (std::size_t g = 0; g < 7; ++g) {
    detail::set_group(code, g, kSignedDecades[g], 1 << g);
    const double after = g == 6 ? 1.0 : kSignedDecades[g + 1].first;
    code.next[g] = detail::middle(detail::last_of(kSignedDecades[g]), after);
  }
  code.base[(127 + 7) % 8] = -1.0f;
  code.next[7] = std::numeric_limits<float>::infinity();
  return code;
}

// In group 0 and group 8 every y rounds to the only number; group 0 is 0 alone. One line decodes both: (n + 1) / 255 -
// 1 / 255 is exactly 0 for n = 0 and rounds to exactly 1 for n = 255.
constexpr DynamicCode make_unsigned_code() {
  DynamicCode code{};
  code.group_base = 13077;
  code.group_factor = 157;
  code.step[127 % 8] = 1.0f / 255.0f;
  code.base[127 % 8] = -1.0f / 255.0f;
  code.next[0] = std::numeric_limits<float>::denorm_min();
  double below = 0.0;
  for (std::size_t g = 1; g < 8; ++g) {
    detail::set_group(code, g, kUnsignedDecades[g - 1], 1 << g);
    if (g > 1) code.next[g - 1] = detail::middle(below, kUnsignedDecades[g - 1].first);
    below = detail::last_of(kUnsignedDecades[g - 1]);
  }
  code.next[7] = detail::middle(below, 1.0);
  return code;
}

inline constexpr DynamicCode kSignedCode = make_signed_code();      // exp_avg
inline constexpr DynamicCode kUnsignedCode = make_unsigned_code();  // exp_avg_sq

// A block whose absmax is below is stored as zeros: its smaller numbers would decode to denormals, which slow some CPUs
// to a tenth. (Unscaled moments below FLT_MIN are flushed likewise, adam_math.hpp.)
inline constexpr float kTinyAbsmax = 0x1p-104f;

}  // namespace asterias::hybrid_adam
