// torch's own side of a card: who gives its tensors memory, and on which stream its operators work.
//
// Implementations: libasterias_torch_cuda.so over c10/cuda (runtime/cuda/), which alone links libtorch_cuda, and tests
// over host memory.
//
// Threading: thread-safe. Devices are counted as in "cuda:N".
#pragma once

#include <cstdint>

#include <c10/core/Allocator.h>

#include "device/stream_handle.hpp"

namespace asterias::runtime {

class TorchDevice {
 public:
  // The CUDA that torch was built with, as CUDART_VERSION counts: 13000 is 13.0.
  virtual int cuda_version() = 0;

  // What torch allocates by where nobody else serves it.
  virtual c10::Allocator* own_allocator() = 0;

  // Has torch take memory of device `index` from `allocator`, for as long as the process lives; that of other devices
  // stays its own.
  virtual void serve_by(c10::Allocator* allocator, int index) = 0;

  // The stream into which torch's operators go on device `index` unless somebody chooses another, and whether those of
  // the calling thread do: its present device must be that one, too, whose default stream a null handle then is.
  virtual device::StreamHandle stream(int index) = 0;
  virtual bool is_on_stream(int index) = 0;

  // Lets go of the device memory that torch's libraries keep from one operator to the next.
  virtual void drop_workspaces() = 0;

 protected:
  ~TorchDevice() = default;  // who uses it does not own it
};

}  // namespace asterias::runtime
