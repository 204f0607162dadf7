#include "hybrid_adam/cuda/update_kernel.cuh"

namespace asterias::hybrid_adam::cuda {

int launch_update_bf16(const UpdateGrid& grid, device::StreamHandle stream) {
  return launch_update<StateCodec::kBfloat16>(grid, stream);
}

}  // namespace asterias::hybrid_adam::cuda
