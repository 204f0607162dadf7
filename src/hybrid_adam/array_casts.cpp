// Per target only whole vectors; what is left is done element by element by the portable code, which gives the same
// bits.
#include "hybrid_adam/array_casts.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cstring>
#include <functional>

#include "base/thread_pool.hpp"
#include "hybrid_adam/dynamic_code.hpp"
#include "hybrid_adam/highway_targets.hpp"
#include "hybrid_adam/ieee_mode.hpp"
#include "hybrid_adam/scalar_ops.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hybrid_adam/array_casts.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();

#include "hybrid_adam/vector_ops-inl.hpp"

#define ASTERIAS_FORMULA_SPACE HWY_NAMESPACE
#define ASTERIAS_FORMULA_INLINE HWY_INLINE
#include "hybrid_adam/codec_math.hpp"
#undef ASTERIAS_FORMULA_SPACE
#undef ASTERIAS_FORMULA_INLINE

namespace asterias::hybrid_adam::HWY_NAMESPACE {

// Both do the whole vectors at the front and return how many elements these are.
std::size_t accumulate_vectors(float* into, ConstNumbers from, std::size_t count) {
  const std::size_t whole = count - count % VectorOps::kLanes;
  for (std::size_t i = 0; i < whole; i += VectorOps::kLanes) {
    const auto sum = VectorOps::add(VectorOps::load(into + i), load_number<VectorOps>(from.type, from.data, i));
    VectorOps::store(sum, into + i);
  }
  return whole;
}

std::size_t cast_vectors(const float* from, Numbers16 to, std::size_t count) {
  const std::size_t whole = count - count % VectorOps::kLanes;
  for (std::size_t i = 0; i < whole; i += VectorOps::kLanes) {
    store_number_16<VectorOps>(to.type, VectorOps::load(from + i), to.data, i);
  }
  return whole;
}

void decode_window(Moment moment, const MomentArray& from, float* to) {
  moment == Moment::kExpAvg ? decode_window<VectorOps, true>(from, to) : decode_window<VectorOps, false>(from, to);
}

void encode_window(Moment moment, const float* from, const MomentArray& to, std::uint32_t first, std::uint64_t key) {
  moment == Moment::kExpAvg ? encode_window<VectorOps, true>(from, to, first, key)
                            : encode_window<VectorOps, false>(from, to, first, key);
}

}  // namespace asterias::hybrid_adam::HWY_NAMESPACE

HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE

#define ASTERIAS_FORMULA_SPACE portable
#define ASTERIAS_FORMULA_INLINE inline
#include "hybrid_adam/codec_math.hpp"
#undef ASTERIAS_FORMULA_SPACE
#undef ASTERIAS_FORMULA_INLINE

namespace asterias::hybrid_adam {

namespace {

std::size_t accumulate_vectors(SimdTarget target, float* into, ConstNumbers from, std::size_t count) {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case SimdTarget::kAvx512: return N_AVX3::accumulate_vectors(into, from, count);
#endif
#if HWY_TARGETS & HWY_AVX2
    case SimdTarget::kAvx2: return N_AVX2::accumulate_vectors(into, from, count);
#endif
    default: return 0;
  }
}

std::size_t cast_vectors(SimdTarget target, const float* from, Numbers16 to, std::size_t count) {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case SimdTarget::kAvx512: return N_AVX3::cast_vectors(from, to, count);
#endif
#if HWY_TARGETS & HWY_AVX2
    case SimdTarget::kAvx2: return N_AVX2::cast_vectors(from, to, count);
#endif
    default: return 0;
  }
}

[[gnu::noinline]] void decode_portable(Moment moment, const MomentArray& from, float* to) {
  using portable::ScalarOps;
  moment == Moment::kExpAvg ? portable::decode_window<ScalarOps, true>(from, to)
                            : portable::decode_window<ScalarOps, false>(from, to);
}

[[gnu::noinline]] void encode_portable(Moment moment, const float* from, const MomentArray& to, std::uint32_t first,
                                       std::uint64_t key) {
  using portable::ScalarOps;
  moment == Moment::kExpAvg ? portable::encode_window<ScalarOps, true>(from, to, first, key)
                            : portable::encode_window<ScalarOps, false>(from, to, first, key);
}

void decode_window(SimdTarget target, Moment moment, const MomentArray& from, float* to) {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case SimdTarget::kAvx512: return N_AVX3::decode_window(moment, from, to);
#endif
#if HWY_TARGETS & HWY_AVX2
    case SimdTarget::kAvx2: return N_AVX2::decode_window(moment, from, to);
#endif
    default: return decode_portable(moment, from, to);
  }
}

void encode_window(SimdTarget target, Moment moment, const float* from, const MomentArray& to, std::uint32_t first,
                   std::uint64_t key) {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case SimdTarget::kAvx512: return N_AVX3::encode_window(moment, from, to, first, key);
#endif
#if HWY_TARGETS & HWY_AVX2
    case SimdTarget::kAvx2: return N_AVX2::encode_window(moment, from, to, first, key);
#endif
    default: return encode_portable(moment, from, to, first, key);
  }
}

// Room for one window of any coded moments.
struct CodedWindow {
  std::array<std::uint16_t, kBlock8Elements> elements{};
  float absmax = 0.0f;

  MomentArray array(StateCodec codec) {
    if (codec == StateCodec::kBfloat16) return reinterpret_cast<Bfloat16*>(elements.data());
    return Block8{reinterpret_cast<std::uint8_t*>(elements.data()), &absmax};
  }
};

[[gnu::noinline]] void accumulate_elements(float* into, ConstNumbers from, std::size_t begin, std::size_t end) {
  using portable::ScalarOps;
  for (std::size_t i = begin; i < end; ++i) into[i] += portable::load_number<ScalarOps>(from.type, from.data, i);
}

[[gnu::noinline]] void cast_elements(const float* from, Numbers16 to, std::size_t begin, std::size_t end) {
  using portable::ScalarOps;
  for (std::size_t i = begin; i < end; ++i) portable::store_number_16<ScalarOps>(to.type, from[i], to.data, i);
}

// Calls run(begin, count) for parts of 64 Ki elements on the threads of `pool`.
template <class Run>
void in_parallel(ThreadPool& pool, std::size_t count, const Run& run) {
  constexpr std::size_t kPart = std::size_t{1} << 16;
  const auto run_part = [&](std::size_t part) { run(part * kPart, std::min(kPart, count - part * kPart)); };
  pool.parallel_for((count + kPart - 1) / kPart, std::cref(run_part));
}

}  // namespace

void accumulate_on(SimdTarget target, float* into, ConstNumbers from, std::size_t count) {
  const IeeeMode mode;
  accumulate_elements(into, from, accumulate_vectors(target, into, from, count), count);
}

void cast_on(SimdTarget target, const float* from, Numbers16 to, std::size_t count) {
  const IeeeMode mode;
  cast_elements(from, to, cast_vectors(target, from, to, count), count);
}

void decode_moments_on(SimdTarget target, Moment moment, const MomentArray& from, float* to, std::size_t count) {
  const IeeeMode mode;
  if (from.codec == StateCodec::kFloat32) {
    std::copy_n(static_cast<const float*>(from.data), count, to);
    return;
  }
  for (std::size_t begin = 0; begin < count; begin += kBlock8Elements) {
    const std::size_t part = std::min(kBlock8Elements, count - begin);
    const MomentArray source = from.from(begin);
    CodedWindow window;
    const MomentArray whole = window.array(from.codec);
    std::memcpy(whole.data, source.data, part * size_bytes(from.codec));
    if (whole.absmax) *whole.absmax = *source.absmax;
    std::array<float, kBlock8Elements> floats;
    decode_window(target, moment, whole, floats.data());
    std::copy_n(floats.data(), part, to + begin);
  }
}

void encode_moments_on(SimdTarget target, Moment moment, const float* from, const MomentArray& to, std::size_t count,
                       std::uint64_t first_element, RoundingKey rounding) {
  const IeeeMode mode;
  if (to.codec == StateCodec::kFloat32) {
    std::copy_n(from, count, static_cast<float*>(to.data));
    return;
  }
  constexpr std::uint64_t kSpan = std::uint64_t{1} << 32;
  for (std::size_t begin = 0; begin < count;) {
    const std::uint64_t first = first_element + begin;
    const auto part =
        static_cast<std::size_t>(std::min<std::uint64_t>({kBlock8Elements, count - begin, kSpan - first % kSpan}));
    const MomentArray sink = to.from(begin);
    CodedWindow window;
    const MomentArray whole = window.array(to.codec);
    std::array<float, kBlock8Elements> floats{};
    std::copy_n(from + begin, part, floats.data());
    encode_window(target, moment, floats.data(), whole, static_cast<std::uint32_t>(first),
                  key_of_span(rounding, first / kSpan));
    std::memcpy(sink.data, whole.data, part * size_bytes(to.codec));
    if (sink.absmax) *sink.absmax = *whole.absmax;
    begin += part;
  }
}

void decode_moments(Moment moment, const MomentArray& from, float* to, std::size_t count) {
  decode_moments_on(best_target(), moment, from, to, count);
}

void encode_moments(Moment moment, const float* from, const MomentArray& to, std::size_t count,
                    std::uint64_t first_element, RoundingKey rounding) {
  encode_moments_on(best_target(), moment, from, to, count, first_element, rounding);
}

void accumulate(float* into, ConstNumbers from, std::size_t count) { accumulate_on(best_target(), into, from, count); }

void cast(const float* from, Numbers16 to, std::size_t count) { cast_on(best_target(), from, to, count); }

void accumulate(ThreadPool& pool, float* into, ConstNumbers from, std::size_t count) {
  in_parallel(pool, count, [&](std::size_t begin, std::size_t part_count) {
    accumulate(into + begin, from.from(begin), part_count);
  });
}

void cast(ThreadPool& pool, const float* from, Numbers16 to, std::size_t count) {
  in_parallel(pool, count,
              [&](std::size_t begin, std::size_t part_count) { cast(from + begin, to.from(begin), part_count); });
}

}  // namespace asterias::hybrid_adam

#endif  // HWY_ONCE
