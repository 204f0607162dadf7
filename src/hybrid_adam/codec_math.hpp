// The one written form of every stored format: how a gradient is read, a 16-bit parameter rounded, and a moment decoded
// and encoded. Elementwise, apart from the absmax of a block of 256.
//
// Included once for each instruction set right after adam_math.hpp, under the same macros and for the same reasons.
// Besides adam_math.hpp's operations `Ops` has a type U (the lanes as 32-bit integers) and what vector_ops-inl.hpp and
// scalar_ops.hpp list side by side.
//
// Invariants
//   * Same bits on every target, NaNs included: a NaN is stored as the positive quiet NaN with an empty payload.
//   * Rounding to bf16 and fp16 is IEEE's, to nearest, ties to even, denormals kept; bf16 moments are rounded up with a
//     probability equal to the share of the distance (infinities and numbers of bf16 stay; above the largest bf16 may
//     become infinity).
//   * Zero-filled memory decodes to zeros. What is encoded from moments (adam_math.hpp flushes them) decodes to no
//     denormal.
//   * A block of 8-bit moments with an infinity or a NaN becomes NaN as a whole.

#ifndef ASTERIAS_FORMULA_SPACE
#error "define ASTERIAS_FORMULA_SPACE and ASTERIAS_FORMULA_INLINE before including hybrid_adam/codec_math.hpp"
#endif

namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE {

template <class Ops>
ASTERIAS_FORMULA_INLINE typename Ops::V quiet_nan() {
  return Ops::from_bits(Ops::set_bits(0x7fc00000));
}

template <class Ops>
ASTERIAS_FORMULA_INLINE typename Ops::V load_bfloat16(const std::uint16_t* from) {
  return Ops::from_bits(Ops::template shift_left<16>(Ops::load_16(from)));
}

// Reads the elements from `i` on, exactly.
template <class Ops>
ASTERIAS_FORMULA_INLINE typename Ops::V load_number(NumberType type, const void* from, std::size_t i) {
  if (type == NumberType::kBfloat16) return load_bfloat16<Ops>(static_cast<const std::uint16_t*>(from) + i);
  if (type == NumberType::kFloat16) return Ops::load_float16(static_cast<const std::uint16_t*>(from) + i);
  return Ops::load(static_cast<const float*>(from) + i);
}

// Rounds to the nearest bf16, ties to even; returned in the low halves.
template <class Ops>
ASTERIAS_FORMULA_INLINE typename Ops::U nearest_bfloat16(typename Ops::V x) {
  const typename Ops::U b = Ops::bits(Ops::number_or(x, quiet_nan<Ops>()));
  const typename Ops::U odd = Ops::and_bits(Ops::template shift_right<16>(b), Ops::set_bits(1));
  return Ops::template shift_right<16>(Ops::add_bits(Ops::add_bits(b, Ops::set_bits(0x7fff)), odd));
}

// Rounds to bf16, away from zero where the low half of x plus `noise`, evenly drawn from 0 to 65535, carries.
template <class Ops>
ASTERIAS_FORMULA_INLINE typename Ops::U stochastic_bfloat16(typename Ops::V x, typename Ops::U noise) {
  const typename Ops::U b = Ops::bits(Ops::number_or(x, quiet_nan<Ops>()));
  return Ops::template shift_right<16>(Ops::add_bits(b, noise));
}

// Writes the elements from `i` on, rounded to the nearest.
template <class Ops>
ASTERIAS_FORMULA_INLINE void store_number_16(NumberType type, typename Ops::V x, void* to, std::size_t i) {
  auto* const halves = static_cast<std::uint16_t*>(to) + i;
  if (type == NumberType::kBfloat16) return Ops::store_16(nearest_bfloat16<Ops>(x), halves);
  Ops::store_float16(Ops::number_or(x, quiet_nan<Ops>()), halves);
}

// 32 bits of noise for each element, see rounding_key.hpp.
template <class Ops>
struct Noise {
  using U = typename Ops::U;
  U before, between;

  explicit ASTERIAS_FORMULA_INLINE Noise(std::uint64_t key)
      : before(Ops::set_bits(static_cast<std::uint32_t>(key))),
        between(Ops::set_bits(static_cast<std::uint32_t>(key >> 32))) {}

  // The noise of elements first, first + 1, ... of the key's span.
  ASTERIAS_FORMULA_INLINE U at(std::uint32_t first) const {
    U x = Ops::xor_bits(Ops::count_from(first), before);
    x = Ops::mul_bits(Ops::xor_bits(x, Ops::template shift_right<16>(x)), Ops::set_bits(0x21f0aaad));
    x = Ops::xor_bits(x, between);
    x = Ops::mul_bits(Ops::xor_bits(x, Ops::template shift_right<15>(x)), Ops::set_bits(0xd35a2d97));
    return Ops::xor_bits(x, Ops::template shift_right<15>(x));
  }
};

// The moments of an element share its noise: exp_avg (signed) takes the low half, exp_avg_sq the high one.
template <class Ops, bool kSigned>
ASTERIAS_FORMULA_INLINE typename Ops::U moment_noise(typename Ops::U noise) {
  return kSigned ? Ops::and_bits(noise, Ops::set_bits(0xffff)) : Ops::template shift_right<16>(noise);
}

// The 8-bit code of one moment (dynamic_code.hpp).
template <class Ops, bool kSigned>
struct BlockCode {
  using V = typename Ops::V;
  using U = typename Ops::U;

  // Decodes the elements at `codes`, of a block with the absmax `scale`.
  static ASTERIAS_FORMULA_INLINE V decode(const std::uint8_t* codes, V scale) {
    if constexpr (!kSigned) {
      const V n = Ops::add(Ops::load_unsigned_8(codes), Ops::set(1.0f));
      return Ops::mul(number_of(n, n), scale);
    }
    const V n = Ops::load_signed_8(codes);
    const V magnitude = Ops::abs(n);
    const U sign = Ops::and_bits(Ops::bits(n), Ops::set_bits(0x80000000));
    const V number = number_of(magnitude, Ops::max(magnitude, Ops::set(1.0f)));
    return Ops::mul(Ops::from_bits(Ops::xor_bits(Ops::bits(number), sign)), scale);
  }

  // Finds n of the number that is nearest to y in [0, 1.0001], in the low byte; unsigned: 0 for 0 only.
  static ASTERIAS_FORMULA_INLINE U nearest(V y) {
    const U guess = Ops::scaled_high_half(Ops::bits(y), code().group_base, code().group_factor);
    const U group = Ops::add_one_where_ge(guess, y, look_up(code().next, guess));
    V from_first = Ops::sub(y, look_up(code().first, group));
    if constexpr (!kSigned) from_first = Ops::max(from_first, Ops::set(0.0f));  // below the smallest number
    const U below = Ops::bits(Ops::mul_add(from_first, look_up(code().inverse_step, group), Ops::set(kIntegerBits)));
    // Beyond a decade's last number rounding goes on to one more; there are 2^group.
    constexpr std::uint32_t kIntegerZero = std::bit_cast<std::uint32_t>(kIntegerBits);
    const U size = Ops::power_of_two(group);
    const U last = Ops::add_bits(size, Ops::set_bits(kIntegerZero - 1));
    return Ops::add_bits(Ops::min_bits(below, last), kSigned ? size : last);
  }

 private:
  static ASTERIAS_FORMULA_INLINE const DynamicCode& code() { return Ops::template code<kSigned>(); }
  static ASTERIAS_FORMULA_INLINE V look_up(const DynamicCode::Table& table, U index) {
    return Ops::lookup(Ops::load_table(table.data()), index);
  }
  static ASTERIAS_FORMULA_INLINE V number_of(V n, V n_of_group) {
    const U group = Ops::template shift_right<23>(Ops::bits(n_of_group));
    return Ops::mul_add(n, look_up(code().step, group), look_up(code().base, group));
  }
};

// Finds the bits of the largest magnitude in a window; infinities and NaNs are larger than every number.
template <class Ops>
inline std::uint32_t largest_magnitude(const float* window) {
  typename Ops::U largest = Ops::set_bits(0);
  for (std::size_t i = 0; i < kBlock8Elements; i += Ops::kLanes) {
    largest = Ops::max_bits(largest, Ops::bits(Ops::abs(Ops::load(window + i))));
  }
  return Ops::largest_lane(largest);
}

// Decodes a block of 256 8-bit moments.
template <class Ops, bool kSigned>
inline void decode_block(const MomentArray& from, float* to) {
  const auto* const codes = static_cast<const std::uint8_t*>(from.data);
  const typename Ops::V scale = Ops::set(*from.absmax);
  for (std::size_t i = 0; i < kBlock8Elements; i += Ops::kLanes) {
    Ops::store(BlockCode<Ops, kSigned>::decode(codes + i, scale), to + i);
  }
}

// What a block's largest magnitude says of how the block is stored.
struct BlockScale {
  float absmax;    // NaN where the block is NaN as a whole, 0 where it is zeros
  float inverse;   // 1 / absmax, where there are codes
  bool has_codes;  // false: all bytes are 0
};

// REQUIRES: `largest` is the bits of a magnitude.
template <class Ops>
ASTERIAS_FORMULA_INLINE BlockScale block_scale(std::uint32_t largest) {
  const float scale = std::bit_cast<float>(largest);
  const bool is_finite = largest < 0x7f800000;
  if (is_finite && scale >= kTinyAbsmax) return {scale, 1.0f / scale, true};
  return {is_finite ? 0.0f : std::bit_cast<float>(0x7fc00000), 0.0f, false};
}

// Encodes a block of 256 moments by its scale. No exp_avg_sq is negative.
template <class Ops, bool kSigned>
inline void encode_scaled(const float* from, float inverse_scale, std::uint8_t* codes) {
  using Code = BlockCode<Ops, kSigned>;
  const typename Ops::V inverse = Ops::set(inverse_scale);
  for (std::size_t i = 0; i < kBlock8Elements; i += 4 * Ops::kLanes) {
    typename Ops::V x[4];
    typename Ops::U n[4];
    for (std::size_t k = 0; k < 4; ++k) {
      x[k] = Ops::load(from + i + k * Ops::kLanes);
      n[k] = Code::nearest(Ops::mul(kSigned ? Ops::abs(x[k]) : x[k], inverse));
    }
    if constexpr (kSigned) Ops::store_signed_bytes(n, x, codes + i);
    if constexpr (!kSigned) Ops::store_bytes(n, codes + i);
  }
}

// Encodes a block of 256 moments: NaN as a whole, zeros, or by its absmax, of which `largest` is the bits.
template <class Ops, bool kSigned>
inline void encode_block(const float* from, std::uint32_t largest, const MomentArray& to) {
  auto* const codes = static_cast<std::uint8_t*>(to.data);
  const BlockScale scale = block_scale<Ops>(largest);
  *to.absmax = scale.absmax;
  if (scale.has_codes) return encode_scaled<Ops, kSigned>(from, scale.inverse, codes);
  std::memset(codes, 0, kBlock8Elements);
}

// Decodes 256 elements of bf16 or 8-bit moments.
template <class Ops, bool kSigned>
inline void decode_window(const MomentArray& from, float* to) {
  if (from.codec == StateCodec::kBlock8) return decode_block<Ops, kSigned>(from, to);
  const auto* const halves = static_cast<const std::uint16_t*>(from.data);
  for (std::size_t i = 0; i < kBlock8Elements; i += Ops::kLanes) Ops::store(load_bfloat16<Ops>(halves + i), to + i);
}

// Encodes 256 elements; with bf16 they are elements first_element, ... of the span of `key`.
template <class Ops, bool kSigned>
inline void encode_window(const float* from, const MomentArray& to, std::uint32_t first_element, std::uint64_t key) {
  if (to.codec == StateCodec::kBlock8) return encode_block<Ops, kSigned>(from, largest_magnitude<Ops>(from), to);
  const Noise<Ops> noise(key);
  auto* const halves = static_cast<std::uint16_t*>(to.data);
  for (std::size_t i = 0; i < kBlock8Elements; i += Ops::kLanes) {
    const auto both = noise.at(first_element + static_cast<std::uint32_t>(i));
    Ops::store_16(stochastic_bfloat16<Ops>(Ops::load(from + i), moment_noise<Ops, kSigned>(both)), halves + i);
  }
}

}  // namespace asterias::hybrid_adam::ASTERIAS_FORMULA_SPACE
