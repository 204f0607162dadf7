// The optimizer's update of contiguous fp32 arrays on the CPU: one pass over memory that scales the gradient, decays,
// moves the moments and steps the parameter.
//
// It knows arrays, not parameters, chunks or tensors: the update pipeline cuts chunks into the pieces that share
// constants and calls it for each. No allocation, no error, no torch.
//
// Invariants
//   * An element's bits depend on its own values and the constants only: not on the SIMD target, its position, the
//     alignment, the length, how the arrays are cut into calls, the number of threads, or the caller's
//     floating-point mode (ieee_mode.hpp). Payloads of NaNs are excepted.
//   * One step from the same state is within 4 ulp of the largest term of a double-precision step, and of torch's fused
//     kernels. The one exception: where the update exceeds half of the parameter, fewer than one element in 20,000
//     lies between 4 and 8 ulp. Moments below FLT_MIN in magnitude are stored as +0 (adam_math.hpp).
//   * Nothing outside [0, count) of each array is read or written.
//
// Placement matters for speed: arrays whose addresses differ by a multiple of a large power of two (four slots of 256
// MiB in a row) meet in the same DRAM banks, and the update runs at a quarter of its speed on a Zen 4, torch's as well.
// Addresses that differ by 16 KiB or more modulo 2 MiB are free of it (bench_adam --skew-bytes 0 shows the fall).
//
// Threading: thread-safe on disjoint arrays. Units: elements.
#pragma once

#include <cstddef>

#include "hybrid_adam/simd_target.hpp"
#include "hybrid_adam/update_constants.hpp"

namespace asterias {
class ThreadPool;
}

namespace asterias::hybrid_adam {

// The arrays of one call, which must not overlap; 4-byte alignment is enough. An array that the algorithm does not use
// may be null: exp_avg_sq for kSgd, exp_avg also when momentum is 0. 16-bit gradients and outputs, when they come, are
// other structs beside this one: the rules of adam_math.hpp see floats either way.
struct UpdateArrays {
  float* param;
  const float* grad;
  float* exp_avg;     // Adam: first moment; SGD: momentum buffer
  float* exp_avg_sq;  // Adam: second moment
  std::size_t count;

  // Cuts out elements [begin, begin + count); null stays null.
  UpdateArrays part(std::size_t begin, std::size_t part_count) const {
    return {param + begin, grad + begin, exp_avg ? exp_avg + begin : nullptr, exp_avg_sq ? exp_avg_sq + begin : nullptr,
            part_count};
  }
};

// Elements that update_parallel gives to a thread at a time: 64 Ki, so 1.75 MiB of traffic for Adam.
inline constexpr std::size_t kUpdateBlockElements = std::size_t{1} << 16;

// Updates the arrays in place on the calling thread, on best_target(). count 0 does nothing.
void update(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays);

// Does the same on `target`, which must be one of available_targets(). For tests and benchmarks.
void update_on(SimdTarget target, Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays);

// Does the same on all threads of `pool`, returning when all is done. Allocates nothing; an array of at most one block
// stays on the caller's thread.
void update_parallel(ThreadPool& pool, Algorithm algorithm, const UpdateConstants& constants,
                     const UpdateArrays& arrays);

}  // namespace asterias::hybrid_adam
