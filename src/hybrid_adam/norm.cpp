// One primitive per target, add_groups: whole groups of 32 elements into 32 lanes. Since a float's square is exact in
// double, a fused and an unfused multiply-add agree here and plain C++ is the portable target. 32 lanes, and not the 8
// of one AVX-512 register, keep enough additions in flight to outrun the memory.
#include "hybrid_adam/norm.hpp"

#include <algorithm>
#include <functional>

#include "base/thread_pool.hpp"
#include "hybrid_adam/highway_targets.hpp"
#include "hybrid_adam/ieee_mode.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hybrid_adam/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace asterias::hybrid_adam::HWY_NAMESPACE {

void add_groups(const float* values, std::size_t num_groups, double* lanes) {
  namespace hn = hwy::HWY_NAMESPACE;
  using D = hn::ScalableTag<double>;
  const D doubles;
  const hn::Rebind<float, D> floats;
  constexpr std::size_t kWidth = HWY_MAX_BYTES / sizeof(double);
  constexpr std::size_t kVectors = kNormLanes / kWidth;

  hn::Vec<D> sums[kVectors];
  for (std::size_t k = 0; k < kVectors; ++k) sums[k] = hn::LoadU(doubles, lanes + k * kWidth);
  for (std::size_t group = 0; group < num_groups; ++group, values += kNormLanes) {
    for (std::size_t k = 0; k < kVectors; ++k) {
      const auto x = hn::PromoteTo(doubles, hn::LoadU(floats, values + k * kWidth));
      sums[k] = hn::MulAdd(x, x, sums[k]);
    }
  }
  for (std::size_t k = 0; k < kVectors; ++k) hn::StoreU(sums[k], doubles, lanes + k * kWidth);
}

}  // namespace asterias::hybrid_adam::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE

namespace asterias::hybrid_adam {

namespace portable {

[[gnu::noinline]] void add_groups(const float* values, std::size_t num_groups, double* lanes) {
  for (std::size_t group = 0; group < num_groups; ++group, values += kNormLanes) {
    for (std::size_t lane = 0; lane < kNormLanes; ++lane) {
      const double x = values[lane];
      lanes[lane] += x * x;
    }
  }
}

}  // namespace portable

namespace {

using Lanes = std::array<double, kNormLanes>;

void add_groups(SimdTarget target, const float* values, std::size_t num_groups, Lanes& lanes) {
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

double sum_block(SimdTarget target, const float* block) {
  Lanes lanes{};
  add_groups(target, block, kNormBlockElements / kNormLanes, lanes);
  return fold(lanes);
}

// Adds whole blocks in order, computing up to kWaveBlocks of their sums at once: they wait in 16 KiB of stack. A thread
// takes 16 blocks (256 KiB) at a time.
double add_blocks(ThreadPool& pool, SimdTarget target, double sum, const float* values, std::size_t num_blocks) {
  constexpr std::size_t kWaveBlocks = 2048, kTaskBlocks = 16;
  std::array<double, kWaveBlocks> sums;
  while (num_blocks > 0) {
    const std::size_t wave = std::min(num_blocks, kWaveBlocks);
    const auto sum_task = [&](std::size_t task) {
      const IeeeMode mode;
      const std::size_t end = std::min(wave, (task + 1) * kTaskBlocks);
      for (std::size_t b = task * kTaskBlocks; b < end; ++b) {
        sums[b] = sum_block(target, values + b * kNormBlockElements);
      }
    };
    pool.parallel_for((wave + kTaskBlocks - 1) / kTaskBlocks, std::cref(sum_task));
    for (std::size_t b = 0; b < wave; ++b) sum += sums[b];
    values += wave * kNormBlockElements;
    num_blocks -= wave;
  }
  return sum;
}

}  // namespace

// Goes lane by lane to the next whole group, then by groups, then lane by lane to the end. Never passes the block's
// end.
void SumOfSquares::add_to_open_block(const float* values, std::size_t count) {
  const auto add_one = [&] {
    const double x = *values++;
    lanes_[open_elements_++ % kNormLanes] += x * x;
    --count;
  };
  while (count > 0 && open_elements_ % kNormLanes != 0) add_one();
  const std::size_t groups = count / kNormLanes;
  add_groups(target_, values, groups, lanes_);
  values += groups * kNormLanes;
  count -= groups * kNormLanes;
  open_elements_ += groups * kNormLanes;
  while (count > 0) add_one();
}

// Returns how many of `count` elements the open block took; closes it when full.
std::size_t SumOfSquares::fill_open_block(const float* values, std::size_t count) {
  const std::size_t taken = std::min(count, kNormBlockElements - open_elements_);
  add_to_open_block(values, taken);
  if (open_elements_ == kNormBlockElements) {
    closed_blocks_ += fold(lanes_);
    lanes_.fill(0.0);
    open_elements_ = 0;
  }
  return taken;
}

void SumOfSquares::add(const float* values, std::size_t count) {
  const IeeeMode mode;
  for (std::size_t taken = 0; count > 0; values += taken, count -= taken) taken = fill_open_block(values, count);
}

void SumOfSquares::add(ThreadPool& pool, const float* values, std::size_t count) {
  if (open_elements_ != 0) {
    const std::size_t taken = std::min(count, kNormBlockElements - open_elements_);
    add(values, taken);
    values += taken;
    count -= taken;
  }
  const std::size_t whole = count - count % kNormBlockElements;
  closed_blocks_ = add_blocks(pool, target_, closed_blocks_, values, whole / kNormBlockElements);
  add(values + whole, count - whole);
}

double SumOfSquares::total() const { return closed_blocks_ + fold(lanes_); }

double sum_of_squares(const float* values, std::size_t count) {
  SumOfSquares sum;
  sum.add(values, count);
  return sum.total();
}

double sum_of_squares(ThreadPool& pool, const float* values, std::size_t count) {
  SumOfSquares sum;
  sum.add(pool, values, count);
  return sum.total();
}

}  // namespace asterias::hybrid_adam

#endif  // HWY_ONCE
