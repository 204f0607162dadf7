// The operations of the formulas (adam_math.hpp, codec_math.hpp) on vectors of AVX2 or AVX-512, and the loads and
// stores of every stored format.
//
// Included once for each Highway target by the .cpp files of this folder, inside HWY_BEFORE_NAMESPACE. Highway gives
// what it has in one instruction; where its form is weaker than the instruction (lookups checked in sanitizer builds,
// no unsigned truncation in 1.0.3, DemoteTo(bf16) truncates) the intrinsic is named.

#if !HWY_NATIVE_FMA
#error "this target has no fused multiply-add: HWY_DISABLE_BMI2_FMA must not be defined"
#endif

namespace asterias::hybrid_adam::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

struct VectorOps {
  using D = hn::ScalableTag<float>;
  using DU = hn::RebindToUnsigned<D>;
  using V = hn::Vec<D>;
  using U = hn::Vec<DU>;  // the same lanes as 32-bit integers
  using Table = V;        // 8 entries, looked up modulo 8
  static constexpr std::size_t kLanes = HWY_MAX_BYTES / sizeof(float);

  // Arithmetic of adam_math.hpp.
  static HWY_INLINE V set(float x) { return hn::Set(D(), x); }
  static HWY_INLINE V add(V a, V b) { return hn::Add(a, b); }
  static HWY_INLINE V sub(V a, V b) { return hn::Sub(a, b); }
  static HWY_INLINE V mul(V a, V b) { return hn::Mul(a, b); }
  static HWY_INLINE V mul_add(V a, V b, V c) { return hn::MulAdd(a, b, c); }
  static HWY_INLINE V sqrt(V x) { return hn::Sqrt(x); }
  static HWY_INLINE V div(V a, V b) { return hn::Div(a, b); }
  static HWY_INLINE V flush_tiny(V x) { return hn::IfThenZeroElse(hn::Lt(hn::Abs(x), hn::Set(D(), FLT_MIN)), x); }

  // Bits and selection of codec_math.hpp.
  static HWY_INLINE V abs(V x) { return hn::Abs(x); }
  static HWY_INLINE V max(V a, V b) { return hn::Max(a, b); }
  static HWY_INLINE V number_or(V x, V otherwise) { return hn::IfThenElse(hn::Eq(x, x), x, otherwise); }
  static HWY_INLINE U bits(V x) { return hn::BitCast(DU(), x); }
  static HWY_INLINE V from_bits(U x) { return hn::BitCast(D(), x); }
  static HWY_INLINE U set_bits(std::uint32_t x) { return hn::Set(DU(), x); }
  // first, first + 1, ... Iota() goes through memory, one lane at a time.
  static HWY_INLINE U count_from(std::uint32_t first) {
    alignas(64) static constexpr std::uint32_t kLaneNumbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                                   8, 9, 10, 11, 12, 13, 14, 15};
    return hn::Add(set_bits(first), hn::Load(DU(), kLaneNumbers));
  }
  static HWY_INLINE U add_bits(U a, U b) { return hn::Add(a, b); }
  static HWY_INLINE U and_bits(U a, U b) { return hn::And(a, b); }
  static HWY_INLINE U xor_bits(U a, U b) { return hn::Xor(a, b); }
  static HWY_INLINE U mul_bits(U a, U b) { return hn::Mul(a, b); }
  static HWY_INLINE U min_bits(U a, U b) { return hn::Min(a, b); }
  static HWY_INLINE U max_bits(U a, U b) { return hn::Max(a, b); }
  static HWY_INLINE U power_of_two(U exponent) { return hn::Shl(set_bits(1), exponent); }
  template <int kBits>
  static HWY_INLINE U shift_left(U x) {
    return hn::ShiftLeft<kBits>(x);
  }
  template <int kBits>
  static HWY_INLINE U shift_right(U x) {
    return hn::ShiftRight<kBits>(x);
  }
  static HWY_INLINE std::uint32_t largest_lane(U x) { return hn::GetLane(hn::MaxOfLanes(DU(), x)); }

  // max((x >> 16) - base, 0) * factor >> 16, which fits 16 bits.
  static HWY_INLINE U scaled_high_half(U x, std::uint32_t base, std::uint32_t factor) {
    using D16 = hn::Repartition<std::uint16_t, DU>;
    const auto offset = hn::SaturatedSub(hn::BitCast(D16(), x), hn::BitCast(D16(), set_bits(base << 16)));
    return hn::ShiftRight<16>(hn::BitCast(DU(), hn::MulHigh(offset, hn::BitCast(D16(), set_bits(factor << 16)))));
  }

  static HWY_INLINE V load(const float* from) { return hn::LoadU(D(), from); }
  static HWY_INLINE void store(V x, float* to) { hn::StoreU(x, D(), to); }
  // Zero-extends.
  static HWY_INLINE U load_16(const std::uint16_t* from) {
    return hn::PromoteTo(DU(), hn::LoadU(hn::Rebind<std::uint16_t, D>(), from));
  }
  static HWY_INLINE V load_float16(const std::uint16_t* from) {
    using D16 = hn::Rebind<hwy::float16_t, D>;
    return hn::PromoteTo(D(), hn::LoadU(D16(), reinterpret_cast<const hwy::float16_t*>(from)));
  }

  template <bool kSigned>
  static HWY_INLINE const DynamicCode& code() {
    return kSigned ? kSignedCode : kUnsignedCode;
  }
#if HWY_TARGET == HWY_AVX3
  static HWY_INLINE Table load_table(const float* entries) {
    return V{_mm512_broadcast_f32x8(_mm256_loadu_ps(entries))};
  }
  static HWY_INLINE V lookup(Table table, U index) { return V{_mm512_permutexvar_ps(index.raw, table.raw)}; }
  static HWY_INLINE U add_one_where_ge(U x, V a, V b) {
    return U{_mm512_mask_add_epi32(x.raw, _mm512_cmp_ps_mask(a.raw, b.raw, _CMP_GE_OQ), x.raw, _mm512_set1_epi32(1))};
  }
  static HWY_INLINE V load_signed_8(const std::uint8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return V{_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
  }
  static HWY_INLINE V load_unsigned_8(const std::uint8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return V{_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
  }
  // Stores the low halves.
  static HWY_INLINE void store_16(U x, std::uint16_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(x.raw));
  }
  static HWY_INLINE void store_float16(V x, std::uint16_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(x.raw, _MM_FROUND_TO_NEAREST_INT));
  }
  // Stores the low bytes of four vectors.
  static HWY_INLINE void store_bytes(const U (&n)[4], std::uint8_t* to) {
    for (int k = 0; k < 4; ++k) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + k, _mm512_cvtepi32_epi8(n[k].raw));
    }
  }
  // Stores the low bytes of four vectors, those of n where x is not negative, else of -min(n, 127).
  static HWY_INLINE void store_signed_bytes(const U (&n)[4], const V (&x)[4], std::uint8_t* to) {
    for (int k = 0; k < 4; ++k) {
      const __mmask16 negative = _mm512_movepi32_mask(_mm512_castps_si512(x[k].raw));
      const __m128i bytes = _mm512_cvtepi32_epi8(n[k].raw);
      const __m128i limited = _mm_mask_min_epu8(bytes, negative, bytes, _mm_set1_epi8(127));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + k,
                       _mm_mask_sub_epi8(limited, negative, _mm_setzero_si128(), limited));
    }
  }
#else
  static HWY_INLINE Table load_table(const float* entries) { return V{_mm256_loadu_ps(entries)}; }
  static HWY_INLINE V lookup(Table table, U index) { return V{_mm256_permutevar8x32_ps(table.raw, index.raw)}; }
  static HWY_INLINE U add_one_where_ge(U x, V a, V b) {
    return U{_mm256_sub_epi32(x.raw, _mm256_castps_si256(_mm256_cmp_ps(a.raw, b.raw, _CMP_GE_OQ)))};
  }
  static HWY_INLINE V load_signed_8(const std::uint8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return V{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))};
  }
  static HWY_INLINE V load_unsigned_8(const std::uint8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return V{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))};
  }
  // Stores the low halves; the high ones must be 0.
  static HWY_INLINE void store_16(U x, std::uint16_t* to) {
    const __m128i low = _mm256_castsi256_si128(x.raw), high = _mm256_extracti128_si256(x.raw, 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packus_epi32(low, high));
  }
  static HWY_INLINE void store_float16(V x, std::uint16_t* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x.raw, _MM_FROUND_TO_NEAREST_INT));
  }
  // Narrows the lanes of four vectors to bytes in their order, by saturation as signed (kSigned) or unsigned.
  template <bool kSigned>
  static HWY_INLINE __m256i narrow(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i ab = _mm256_packs_epi32(a, b), cd = _mm256_packs_epi32(c, d);
    const __m256i bytes = kSigned ? _mm256_packs_epi16(ab, cd) : _mm256_packus_epi16(ab, cd);
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  static HWY_INLINE __m256i low_bytes(const U (&n)[4]) {
    const __m256i mask = _mm256_set1_epi32(255);
    return narrow<false>(_mm256_and_si256(n[0].raw, mask), _mm256_and_si256(n[1].raw, mask),
                         _mm256_and_si256(n[2].raw, mask), _mm256_and_si256(n[3].raw, mask));
  }
  // Stores the low bytes of four vectors.
  static HWY_INLINE void store_bytes(const U (&n)[4], std::uint8_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), low_bytes(n));
  }
  // Stores the low bytes of four vectors, those of n where x is not negative, else of -min(n, 127). Saturation keeps
  // signs.
  static HWY_INLINE void store_signed_bytes(const U (&n)[4], const V (&x)[4], std::uint8_t* to) {
    const __m256i signs = narrow<true>(_mm256_castps_si256(x[0].raw), _mm256_castps_si256(x[1].raw),
                                       _mm256_castps_si256(x[2].raw), _mm256_castps_si256(x[3].raw));
    const __m256i negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), signs);
    const __m256i limit = _mm256_add_epi8(_mm256_set1_epi8(-128), negative);  // 128, or 127 where negative
    const __m256i limited = _mm256_min_epu8(low_bytes(n), limit);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_sub_epi8(_mm256_xor_si256(limited, negative), negative));
  }
#endif
};

}  // namespace asterias::hybrid_adam::HWY_NAMESPACE
