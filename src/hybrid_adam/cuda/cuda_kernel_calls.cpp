// KernelCalls by the launches of this folder, and what the plugin exports for src/hybrid_adam/.
#include "device/cuda/error_text.hpp"
#include "hybrid_adam/cuda/launches.hpp"

namespace asterias::hybrid_adam::cuda {
namespace {

class CudaKernelCalls final : public KernelCalls {
 public:
  int update(const UpdateGrid& grid, device::StreamHandle stream) override {
    switch (grid.codec) {
      case StateCodec::kFloat32: return launch_update_fp32(grid, stream);
      case StateCodec::kBfloat16: return launch_update_bf16(grid, stream);
      case StateCodec::kBlock8: return launch_update_8bit(grid, stream);
    }
    return cudaErrorInvalidValue;
  }
  int accumulate(float* into, ConstNumbers from, std::size_t count, device::StreamHandle stream) override {
    return launch_accumulate(into, from, count, stream);
  }
  int cast(const float* from, Numbers16 to, std::size_t count, device::StreamHandle stream) override {
    return launch_cast(from, to, count, stream);
  }
  int decode(Moment moment, const MomentArray& from, float* to, std::size_t count,
             device::StreamHandle stream) override {
    return launch_decode(moment, from, to, count, stream);
  }
  int encode(Moment moment, const float* from, const MomentArray& to, std::size_t count, std::uint32_t first_element,
             std::uint64_t key, device::StreamHandle stream) override {
    return launch_encode(moment, from, to, count, first_element, key, stream);
  }
  int sum_blocks(const SquareSumGrid& grid, double* block_sums, device::StreamHandle stream) override {
    return launch_sum_blocks(grid, block_sums, stream);
  }
  int sum_arrays(const SquareSumGrid& grid, const double* block_sums, double* sums,
                 device::StreamHandle stream) override {
    return launch_sum_arrays(grid, block_sums, sums, stream);
  }
  const char* error_text(int error) override { return device::cuda_error_text(error); }
};

}  // namespace
}  // namespace asterias::hybrid_adam::cuda

// What src/hybrid_adam/cuda_kernels.cpp looks for.
extern "C" [[gnu::visibility("default")]] asterias::hybrid_adam::KernelCalls* asterias_cuda_kernels() {
  static asterias::hybrid_adam::cuda::CudaKernelCalls calls;
  return &calls;
}
