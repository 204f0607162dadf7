// What a run on "cuda:N" stands on: the driver's calls, the kernels of the update, and torch's side of the card.
//
// Both plugins are opened when the program starts, where a driver answers: torch looks only once whether there is CUDA,
// and would go on without it. So there is one program for machines with and without a card.
//
// Threading: thread-safe.
#pragma once

#include <string>

#include "device/cuda_calls.hpp"
#include "hybrid_adam/kernel_calls.hpp"

namespace asterias::runtime {

class TorchDevice;

struct CudaBackend {
  device::CudaCalls* calls = nullptr;
  hybrid_adam::KernelCalls* kernels = nullptr;
  TorchDevice* torch = nullptr;
};

// Throws CudaError: kNoDriver where no driver answers, kNoPlugin where a plugin is missing, is of another build, lacks
// a library, or is of another major version of CUDA than torch; each time the same.
const CudaBackend& cuda_backend();

// True where there is one, and a card that it shows. Where a driver answers and a plugin is unfit, a log line says why,
// once.
bool has_card();

// Puts another one in its place, for tests; before the first engine.
void replace_cuda_backend(const CudaBackend& backend);

// The N of "cuda:N" or "cuda". REQUIRES: such a name.
int cuda_index(const std::string& device);

}  // namespace asterias::runtime
