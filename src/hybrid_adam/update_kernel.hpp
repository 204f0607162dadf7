// The optimizer's update of contiguous arrays on the CPU: one pass over memory that scales the gradient, decays, moves
// the moments, steps the fp32 parameter and, if asked, writes it once more in 16 bits.
//
// It knows arrays, not parameters, chunks or tensors: the update pipeline cuts chunks into the pieces that share
// constants and calls it for each. No allocation, no torch.
//
// Formats, by array (number_arrays.hpp). All combinations of the three rows exist; others are a StateError (kBug):
//   gradient and param_out  fp32 and none, bf16 or fp16; bf16 and none or bf16; fp16 and none or fp16
//   moments                 both fp32, both bf16 or both 8-bit; SGD has exp_avg only
//   algorithm               Adam, AdamW, SGD
// An output of the gradient's type may lie in the gradient's place.
//
// Invariants
//   * An element's bits depend on its own values and the constants only (with coded moments, on what is said below as
//     well): not on the SIMD target, its position in memory, the alignment, the length, how the arrays are cut into
//     calls, the number of threads, or the caller's floating-point mode (ieee_mode.hpp). Payloads of NaNs are excepted.
//   * One step from the same state is within 4 ulp of the largest term of a double-precision step, and of torch's fused
//     kernels. The one exception: where the update exceeds half of the parameter, fewer than one element in 20,000
//     lies between 4 and 8 ulp. Moments below FLT_MIN in magnitude are stored as +0 (adam_math.hpp).
//   * With coded moments that is the step from decoded moments to moments not yet encoded, and the parameter moves by
//     the latter. What is encoded depends on first_element and rounding (bf16) or on the block's 256 elements (8-bit).
//   * Nothing outside [0, count) of each array is read or written, of absmax nothing outside the blocks of these.
//
// Placement matters for speed: arrays whose addresses differ by a multiple of a large power of two (four slots of 256
// MiB in a row) meet in the same DRAM banks, and the update runs at a quarter of its speed on a Zen 4, torch's as well.
// Addresses that differ by 16 KiB or more modulo 2 MiB are free of it (bench_adam --skew-bytes 0 shows the fall).
//
// Threading: thread-safe on disjoint arrays. Units: elements.
#pragma once

#include <cstddef>

#include "hybrid_adam/simd_target.hpp"
#include "hybrid_adam/update_arrays.hpp"
#include "hybrid_adam/update_constants.hpp"

namespace asterias {
class ThreadPool;
}

namespace asterias::hybrid_adam {

// Elements that update_parallel gives to a thread at a time: 64 Ki, so 1.75 MiB of traffic for Adam in fp32. A multiple
// of 256, so no block of 8-bit moments is cut.
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
