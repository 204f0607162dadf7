// A CUDA card as the runtime's accelerator.
//
// Threading: as Accelerator. Units: bytes.
#pragma once

#include <cstdint>
#include <memory>

#include "device/accelerator.hpp"
#include "device/cuda_calls.hpp"
#include "device/stream_handle.hpp"

namespace asterias::device {

class CudaDevice;

struct CudaOptions {
  int index = 0;                           // N of "cuda:N"
  std::uint64_t limit_bytes = UINT64_MAX;  // tiers.gpu.limit: memory, context and libraries together
  double limit_share = 1;                  // or of the card's memory
  std::uint64_t library_growth_bytes = 0;  // what libraries will take after the card is opened
  bool uses_foreign_stream = false;        // compute on `compute_stream` instead of a stream of its own
  StreamHandle compute_stream = {};
};

// Opens a card and takes all the memory that the limit leaves: the limit, or the whole card where that is less, minus
// what the context holds now and library_growth_bytes, in units of 2 MiB. Throws CudaError: besides CudaDevice's,
// kTooSmall when the limit passes the card or leaves nothing, kBusy when other processes hold what it asks for.
std::unique_ptr<Accelerator> open_cuda_accelerator(CudaCalls& calls, const CudaOptions& options);

// The same on a card that has been opened, as options.index says.
std::unique_ptr<Accelerator> open_cuda_accelerator(std::shared_ptr<const CudaDevice> device,
                                                   const CudaOptions& options);

}  // namespace asterias::device
