// One primitive per target, add_groups: whole groups of 32 elements into 32 lanes. Since a float's square is exact in
// double, a fused and an unfused multiply-add agree here and plain C++ is the portable target. 32 lanes, and not the 8
// of one AVX-512 register, keep enough additions in flight to outrun the memory.
#include "hybrid_adam/norm.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/thread_pool.hpp"
#include "hybrid_adam/dynamic_code.hpp"
#include "hybrid_adam/highway_targets.hpp"
#include "hybrid_adam/ieee_mode.hpp"
#include "hybrid_adam/scalar_ops.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hybrid_adam/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace asterias::hybrid_adam::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<double>;
using Floats = hn::Rebind<float, D>;

HWY_INLINE hn::Vec<Floats> load_floats(const float* from) { return hn::LoadU(Floats(), from); }
HWY_INLINE hn::Vec<Floats> load_floats(const Bfloat16* from) {
  const auto halves = hn::LoadU(hn::Rebind<std::uint16_t, D>(), reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(hn::PromoteTo(hn::RebindToUnsigned<Floats>(), halves)));
}
HWY_INLINE hn::Vec<Floats> load_floats(const Float16* from) {
  using Halves = hn::Rebind<hwy::float16_t, D>;
  return hn::PromoteTo(Floats(), hn::LoadU(Halves(), reinterpret_cast<const hwy::float16_t*>(from)));
}

template <class Number>
HWY_INLINE void add_groups_of(const Number* values, std::size_t num_groups, double* lanes) {
  const D doubles;
  constexpr std::size_t kWidth = HWY_MAX_BYTES / sizeof(double);
  constexpr std::size_t kVectors = kNormLanes / kWidth;

  hn::Vec<D> sums[kVectors];
  for (std::size_t k = 0; k < kVectors; ++k) sums[k] = hn::LoadU(doubles, lanes + k * kWidth);
  for (std::size_t group = 0; group < num_groups; ++group, values += kNormLanes) {
    for (std::size_t k = 0; k < kVectors; ++k) {
      const auto x = hn::PromoteTo(doubles, load_floats(values + k * kWidth));
      sums[k] = hn::MulAdd(x, x, sums[k]);
    }
  }
  for (std::size_t k = 0; k < kVectors; ++k) hn::StoreU(sums[k], doubles, lanes + k * kWidth);
}

void add_groups(ConstNumbers values, std::size_t num_groups, double* lanes) {
  switch (values.type) {
    case NumberType::kFloat32: return add_groups_of(static_cast<const float*>(values.data), num_groups, lanes);
    case NumberType::kBfloat16: return add_groups_of(static_cast<const Bfloat16*>(values.data), num_groups, lanes);
    case NumberType::kFloat16: return add_groups_of(static_cast<const Float16*>(values.data), num_groups, lanes);
  }
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

namespace portable {

inline double load_one(ConstNumbers values, std::size_t i) {
  return load_number<ScalarOps>(values.type, values.data, i);
}

[[gnu::noinline]] void add_groups(ConstNumbers values, std::size_t num_groups, double* lanes) {
  for (std::size_t i = 0; i < num_groups * kNormLanes; ++i) {
    const double x = load_one(values, i);
    lanes[i % kNormLanes] += x * x;
  }
}

}  // namespace portable

namespace {

using Lanes = std::array<double, kNormLanes>;

void add_groups(SimdTarget target, ConstNumbers values, std::size_t num_groups, Lanes& lanes) {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case SimdTarget::kAvx512: return N_AVX3::add_groups(values, num_groups, lanes.data());
#endif
#if HWY_TARGETS & HWY_AVX2
    case SimdTarget::kAvx2: return N_AVX2::add_groups(values, num_groups, lanes.data());
#endif
    default: return portable::add_groups(values, num_groups, lanes.data());
  }
}

double fold(Lanes lanes) {
  for (std::size_t half = kNormLanes / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

double sum_block(SimdTarget target, ConstNumbers block) {
  Lanes lanes{};
  add_groups(target, block, kNormBlockElements / kNormLanes, lanes);
  return fold(lanes);
}

// Adds whole blocks in order, computing up to kWaveBlocks of their sums at once: they wait in 16 KiB of stack. A thread
// takes 16 blocks (256 KiB) at a time.
double add_blocks(ThreadPool& pool, SimdTarget target, double sum, ConstNumbers values, std::size_t num_blocks) {
  constexpr std::size_t kWaveBlocks = 2048, kTaskBlocks = 16;
  std::array<double, kWaveBlocks> sums;
  while (num_blocks > 0) {
    const std::size_t wave = std::min(num_blocks, kWaveBlocks);
    const auto sum_task = [&](std::size_t task) {
      const IeeeMode mode;
      const std::size_t end = std::min(wave, (task + 1) * kTaskBlocks);
      for (std::size_t b = task * kTaskBlocks; b < end; ++b) {
        sums[b] = sum_block(target, values.from(b * kNormBlockElements));
      }
    };
    pool.parallel_for((wave + kTaskBlocks - 1) / kTaskBlocks, std::cref(sum_task));
    for (std::size_t b = 0; b < wave; ++b) sum += sums[b];
    values = values.from(wave * kNormBlockElements);
    num_blocks -= wave;
  }
  return sum;
}

}  // namespace

// Goes lane by lane to the next whole group, then by groups, then lane by lane to the end. Never passes the block's
// end.
void SumOfSquares::add_to_open_block(ConstNumbers values, std::size_t count) {
  std::size_t i = 0;
  const auto add_one = [&] {
    const double x = portable::load_one(values, i++);
    lanes_[open_elements_++ % kNormLanes] += x * x;
  };
  while (i < count && open_elements_ % kNormLanes != 0) add_one();
  const std::size_t groups = (count - i) / kNormLanes;
  add_groups(target_, values.from(i), groups, lanes_);
  i += groups * kNormLanes;
  open_elements_ += groups * kNormLanes;
  while (i < count) add_one();
}

// Returns how many of `count` elements the open block took; closes it when full.
std::size_t SumOfSquares::fill_open_block(ConstNumbers values, std::size_t count) {
  const std::size_t taken = std::min(count, kNormBlockElements - open_elements_);
  add_to_open_block(values, taken);
  if (open_elements_ == kNormBlockElements) {
    closed_blocks_ += fold(lanes_);
    lanes_.fill(0.0);
    open_elements_ = 0;
  }
  return taken;
}

void SumOfSquares::add(ConstNumbers values, std::size_t count) {
  const IeeeMode mode;
  while (count > 0) {
    const std::size_t taken = fill_open_block(values, count);
    values = values.from(taken);
    count -= taken;
  }
}

void SumOfSquares::add(ThreadPool& pool, ConstNumbers values, std::size_t count) {
  if (open_elements_ != 0) {
    const std::size_t taken = std::min(count, kNormBlockElements - open_elements_);
    add(values, taken);
    values = values.from(taken);
    count -= taken;
  }
  const std::size_t whole = count - count % kNormBlockElements;
  closed_blocks_ = add_blocks(pool, target_, closed_blocks_, values, whole / kNormBlockElements);
  add(values.from(whole), count - whole);
}

double SumOfSquares::total() const { return closed_blocks_ + fold(lanes_); }

bool SumOfSquares::is_finite() const { return std::isfinite(total()); }

double sum_of_squares(ConstNumbers values, std::size_t count) {
  SumOfSquares sum;
  sum.add(values, count);
  return sum.total();
}

double sum_of_squares(ThreadPool& pool, ConstNumbers values, std::size_t count) {
  SumOfSquares sum;
  sum.add(pool, values, count);
  return sum.total();
}

}  // namespace asterias::hybrid_adam

#endif  // HWY_ONCE
