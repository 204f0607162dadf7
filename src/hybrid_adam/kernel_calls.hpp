// The kernels of an accelerator as bare launches: what the CUDA plugin implements, and what tests replace by loops.
//
// Launches only: nothing is checked, cut or counted here; DeviceKernels does that. No torch, no CUDA type.
//
// Invariants
//   * A call enqueues its work into `stream` and returns without waiting for it; 0, or the driver's error of the
//   launch.
//   * The arrays must lie in the accelerator's memory and stay until the stream has passed the work.
//
// Threading: thread-safe. Units: elements.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/stream_handle.hpp"
#include "hybrid_adam/array_casts.hpp"
#include "hybrid_adam/update_grid.hpp"

namespace asterias::hybrid_adam {

class KernelCalls {
 public:
  virtual int update(const UpdateGrid& grid, device::StreamHandle stream) = 0;

  virtual int accumulate(float* into, ConstNumbers from, std::size_t count, device::StreamHandle stream) = 0;
  virtual int cast(const float* from, Numbers16 to, std::size_t count, device::StreamHandle stream) = 0;

  // `from` begins at a block; elements first_element, ... belong to the span of `key`.
  virtual int decode(Moment moment, const MomentArray& from, float* to, std::size_t count,
                     device::StreamHandle stream) = 0;
  virtual int encode(Moment moment, const float* from, const MomentArray& to, std::size_t count,
                     std::uint32_t first_element, std::uint64_t key, device::StreamHandle stream) = 0;

  // Sums each block of `grid` to block_sums[its number]; then each array's blocks, in order, to sums[its number].
  virtual int sum_blocks(const SquareSumGrid& grid, double* block_sums, device::StreamHandle stream) = 0;
  virtual int sum_arrays(const SquareSumGrid& grid, const double* block_sums, double* sums,
                         device::StreamHandle stream) = 0;

  virtual const char* error_text(int error) = 0;

 protected:
  ~KernelCalls() = default;  // who uses them does not own them
};

}  // namespace asterias::hybrid_adam
