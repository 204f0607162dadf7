// The kernels' launches, file by file; cuda_kernel_calls.cpp puts them behind KernelCalls. Each returns cudaError_t as
// an int and says no more than kernel_calls.hpp does.
#pragma once

#include "hybrid_adam/kernel_calls.hpp"

namespace asterias::hybrid_adam::cuda {

int launch_update_fp32(const UpdateGrid& grid, device::StreamHandle stream);
int launch_update_bf16(const UpdateGrid& grid, device::StreamHandle stream);
int launch_update_8bit(const UpdateGrid& grid, device::StreamHandle stream);

int launch_accumulate(float* into, ConstNumbers from, std::size_t count, device::StreamHandle stream);
int launch_cast(const float* from, Numbers16 to, std::size_t count, device::StreamHandle stream);
int launch_decode(Moment moment, const MomentArray& from, float* to, std::size_t count, device::StreamHandle stream);
int launch_encode(Moment moment, const float* from, const MomentArray& to, std::size_t count,
                  std::uint32_t first_element, std::uint64_t key, device::StreamHandle stream);

int launch_sum_blocks(const SquareSumGrid& grid, double* block_sums, device::StreamHandle stream);
int launch_sum_arrays(const SquareSumGrid& grid, const double* block_sums, double* sums, device::StreamHandle stream);

}  // namespace asterias::hybrid_adam::cuda
