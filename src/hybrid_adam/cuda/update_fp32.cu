#include "hybrid_adam/cuda/update_kernel.cuh"

namespace asterias::hybrid_adam::cuda {

int launch_update_fp32(const UpdateGrid& grid, device::StreamHandle stream) {
  return launch_update<StateCodec::kFloat32>(grid, stream);
}

}  // namespace asterias::hybrid_adam::cuda
