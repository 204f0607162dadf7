// The arrays of one optimizer update, wherever they lie: the CPU's kernels (update_kernel.hpp) and an accelerator's
// (device_kernels.hpp) take the same.
//
// Threading: immutable values. Units: elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hybrid_adam/host_device.hpp"
#include "hybrid_adam/number_arrays.hpp"
#include "hybrid_adam/rounding_key.hpp"
#include "hybrid_adam/update_constants.hpp"

namespace asterias::hybrid_adam {

// The arrays of one call, which must not overlap but for param_out and grad; an element's own alignment is enough. An
// array that the algorithm does not use may be null: exp_avg_sq for kSgd, exp_avg also when momentum is 0.
struct UpdateArrays {
  float* param;  // the model's own, or its fp32 master
  ConstNumbers grad;
  MomentArray exp_avg;     // Adam: first moment; SGD: momentum buffer
  MomentArray exp_avg_sq;  // Adam: second moment
  std::size_t count;
  Numbers16 param_out = {};  // the new parameter rounded to 16 bits; null: none

  // For coded moments: where in its tensor element 0 is, which for 8-bit ones must be a multiple of 256 (the arrays
  // then belong to one tensor), and the noise that bf16 ones are rounded with.
  std::uint64_t first_element = 0;
  RoundingKey rounding = {};

  // Cuts out elements [begin, begin + count), with 8-bit moments from a multiple of 256; null stays null.
  ASTERIAS_HD UpdateArrays part(std::size_t begin, std::size_t part_count) const {
    return {param + begin, grad.from(begin),      exp_avg.from(begin),   exp_avg_sq.from(begin),
            part_count,    param_out.from(begin), first_element + begin, rounding};
  }
};

// Throws StateError (kBug) unless the formats are a combination that update_kernel.hpp lists.
void check_formats(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays);

// Counts the elements up to the next index of the tensor that is a multiple of 2^32, where the noise of stochastic
// rounding changes its key: a kernel is given no more at once.
std::size_t elements_of_span(const UpdateArrays& arrays);

}  // namespace asterias::hybrid_adam
