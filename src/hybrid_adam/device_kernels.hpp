// The update, the casts and the sum of squares on an accelerator: the same arrays, formats and bits as the CPU's
// (update_kernel.hpp, array_casts.hpp, norm.hpp), enqueued into a stream.
//
// It checks and cuts what it is given into launches; the launches themselves are KernelCalls. Where memory lies and
// what the stream waits for is the caller's: all arrays are in the accelerator's memory and stay until the stream is
// past.
//
// Invariants
//   * Bits are those of the CPU's functions of the same names, whatever the segments and launches. Payloads of NaNs in
//     fp32 arrays are excepted.
//   * No call waits for the device or allocates anywhere. A failed launch is a CudaError.
//
// Threading: thread-safe; work on the same arrays goes into one stream. Units: elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "device/stream_handle.hpp"
#include "hybrid_adam/kernel_calls.hpp"
#include "hybrid_adam/update_grid.hpp"

namespace asterias::hybrid_adam {

class DeviceKernels {
 public:
  explicit DeviceKernels(KernelCalls& calls) : calls_(calls) {}

  // Updates all segments, 64 per launch; a chunk that holds no more tensors is one. Segments may have rules of their
  // own within `algorithm`, but one codec; throws StateError (kBug) otherwise, as for formats that do not exist, before
  // anything is launched. Empty segments are skipped.
  void update(device::StreamHandle stream, Algorithm algorithm, std::span<const UpdateSegment> segments) const;

  void accumulate(device::StreamHandle stream, float* into, ConstNumbers from, std::size_t count) const;
  void cast(device::StreamHandle stream, const float* from, Numbers16 to, std::size_t count) const;
  void decode_moments(device::StreamHandle stream, Moment moment, const MomentArray& from, float* to,
                      std::size_t count) const;
  void encode_moments(device::StreamHandle stream, Moment moment, const float* from, const MomentArray& to,
                      std::size_t count, std::uint64_t first_element, RoundingKey rounding) const;

  // Writes the sum of squares of each array, whole tensors, to `sums`, 64 arrays per two launches. `scratch` is device
  // memory for square_sum_scratch(arrays) doubles; the stream is past it when it is past `sums`.
  void sums_of_squares(device::StreamHandle stream, std::span<const NumberArray> arrays, double* scratch,
                       double* sums) const;
  static std::size_t square_sum_scratch(std::span<const NumberArray> arrays);

 private:
  void check(int error, const char* what) const;

  KernelCalls& calls_;
};

}  // namespace asterias::hybrid_adam
