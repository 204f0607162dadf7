// The sum of squares of an fp32, bf16 or fp16 array in double, for gradient norms and for finding overflows in the same
// pass, with the same bits however it is computed.
//
// One tensor's sum is defined by its elements in order and nothing else: element i belongs to block i / 4096 and,
// there, to lane i % 32; a lane adds its squares in order; a block folds its 32 lanes as a fixed tree (l with l+16, +8,
// +4, +2, +1); blocks are added in order. Lanes and blocks are counted from the tensor's start, so chunk boundaries,
// SIMD width, threads and tiers do not show. Adding tensors (in name order), the square root and clipping are the
// caller's.
//
// Invariants
//   * Any cutting of a tensor into add() calls gives the same bits.
//   * Squares of floats are exact in double, and cannot overflow there: total() is finite exactly when every element
//     is,
//     else inf or NaN. The relative error is below 1e-13.
//   * The caller's floating-point mode does not matter (ieee_mode.hpp): denormals count.
//
// Threading: thread-compatible. Units: elements.
#pragma once

#include <array>
#include <cstddef>

#include "hybrid_adam/number_arrays.hpp"
#include "hybrid_adam/simd_target.hpp"

namespace asterias {
class ThreadPool;
}

namespace asterias::hybrid_adam {

inline constexpr std::size_t kNormBlockElements = 4096;
inline constexpr std::size_t kNormLanes = 32;

// A running sum over one tensor, fed piece by piece from its start.
class SumOfSquares {
 public:
  explicit SumOfSquares(SimdTarget target = best_target()) : target_(target) {}

  // Adds the tensor's next `count` elements; a 16-bit one counts as the float that it decodes to. count 0 does nothing.
  // Allocates nothing.
  void add(ConstNumbers values, std::size_t count);

  // Does the same with the blocks shared out over `pool`; same bits. Allocates nothing.
  void add(ThreadPool& pool, ConstNumbers values, std::size_t count);

  // Returns the sum so far, 0 for no elements. More may be added afterwards.
  double total() const;

  // Says whether every element so far is finite: the test for overflow under a loss scale.
  bool is_finite() const;

 private:
  std::size_t fill_open_block(ConstNumbers values, std::size_t count);
  void add_to_open_block(ConstNumbers values, std::size_t count);

  SimdTarget target_;
  double closed_blocks_ = 0.0;              // sum of the blocks that are complete
  std::array<double, kNormLanes> lanes_{};  // of the open block
  std::size_t open_elements_ = 0;           // elements in the open block, below kNormBlockElements
};

// Sums one whole tensor that lies in one piece.
double sum_of_squares(ConstNumbers values, std::size_t count);
double sum_of_squares(ThreadPool& pool, ConstNumbers values, std::size_t count);

}  // namespace asterias::hybrid_adam
