// Whole arrays between formats: 16-bit gradients added to fp32 ones, fp32 parameters rounded to 16 bits, coded moments
// decoded and encoded.
//
// Beside the update, which does both in its own pass (update_kernel.hpp): accumulate() serves micro-batches whose sum
// is kept in fp32 (`data_types.grad_accum_dtype`), cast() makes 16-bit parameters from masters when no update is due
// (at the start, and after a skipped step whose gradients took the parameters' place). No allocation, no error, no
// torch.
//
// Invariants
//   * Elementwise IEEE operations: the same bits on every target, at any length and alignment, for any number of
//     threads and in any floating-point mode of the caller (ieee_mode.hpp). Payloads of NaNs in sums are excepted.
//   * Rounding is to the nearest, ties to even; a NaN becomes the positive quiet NaN, as in the update.
//
// Threading: thread-safe on disjoint arrays. Units: elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hybrid_adam/number_arrays.hpp"
#include "hybrid_adam/rounding_key.hpp"
#include "hybrid_adam/simd_target.hpp"

namespace asterias {
class ThreadPool;
}

namespace asterias::hybrid_adam {

// Adds `from` to `into`, element by element. The arrays do not overlap. count 0 does nothing.
void accumulate(float* into, ConstNumbers from, std::size_t count);
void accumulate(ThreadPool& pool, float* into, ConstNumbers from, std::size_t count);

// Rounds `from` to `to`, bf16 or fp16. The arrays do not overlap. count 0 does nothing.
void cast(const float* from, Numbers16 to, std::size_t count);
void cast(ThreadPool& pool, const float* from, Numbers16 to, std::size_t count);

enum class Moment : std::uint8_t { kExpAvg, kExpAvgSq };

// Decodes `from`, the moments of a tensor from a block's start on, exactly as the update reads them.
void decode_moments(Moment moment, const MomentArray& from, float* to, std::size_t count);

// Encodes elements first_element, ... (kBlock8: a multiple of 256) of a tensor exactly as an update with these
// arguments writes them; exp_avg_sq is taken by magnitude. What was decoded from bf16 gives the same bits again. 8-bit
// moments need not: a block's largest negative number is 0.993 of its absmax, so it comes back with another absmax.
// What must resume bit for bit keeps codes and absmax.
void encode_moments(Moment moment, const float* from, const MomentArray& to, std::size_t count,
                    std::uint64_t first_element, RoundingKey rounding);

// The same on `target`, which must be one of available_targets(). For tests and benchmarks.
void accumulate_on(SimdTarget target, float* into, ConstNumbers from, std::size_t count);
void cast_on(SimdTarget target, const float* from, Numbers16 to, std::size_t count);
void decode_moments_on(SimdTarget target, Moment moment, const MomentArray& from, float* to, std::size_t count);
void encode_moments_on(SimdTarget target, Moment moment, const float* from, const MomentArray& to, std::size_t count,
                       std::uint64_t first_element, RoundingKey rounding);

}  // namespace asterias::hybrid_adam
