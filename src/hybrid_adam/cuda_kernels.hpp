// The kernels of the CUDA plugin.
//
// Threading: thread-safe.
#pragma once

#include "device/cuda_plugin.hpp"
#include "hybrid_adam/kernel_calls.hpp"

namespace asterias::hybrid_adam {

// Finds them; throws CudaError (kNoPlugin). They live as long as the process.
inline KernelCalls& cuda_kernels(const device::CudaPlugin& plugin) {
  return *reinterpret_cast<KernelCalls* (*)()>(plugin.symbol("asterias_cuda_kernels"))();
}

}  // namespace asterias::hybrid_adam
