// The update of a grid of segments: a warp per window. One file per codec (update_fp32.cu, update_bf16.cu,
// update_8bit.cu), so that they compile side by side.
//
// The rule is chosen per window, since a chunk's tensors may differ in decay and in having taken a step before: all
// lanes of a warp take the same branch.
#pragma once

#include <cuda_runtime.h>

#include "hybrid_adam/cuda/cuda_ops.cuh"
#include "hybrid_adam/cuda/launches.hpp"

namespace asterias::hybrid_adam::cuda {

// Applies whatever rule it is given to one window.
template <StateCodec kCodec>
struct WindowUpdate {
  const UpdateArrays& window;

  template <class Rule>
  __device__ __forceinline__ void run(const Rule& rule) const {
    UpdateLane<Rule, CudaOps, kCodec> lane(window, lane_of_warp());
    lane.update(rule);
    std::uint32_t largest = 0, largest_sq = 0;
    if constexpr (kCodec == StateCodec::kBlock8) {  // which also keeps lane 0's new absmax behind every lane's load
      if constexpr (Rule::kWritesExpAvg) largest = __reduce_max_sync(kAllLanes, lane.largest());
      if constexpr (Rule::kUsesExpAvgSq) largest_sq = __reduce_max_sync(kAllLanes, lane.largest_sq());
    }
    lane.finish(largest, largest_sq);
  }
};

template <StateCodec kCodec, bool kSgd>
__global__ void __launch_bounds__(kBlockThreads) update_kernel(const __grid_constant__ UpdateGrid grid) {
  if constexpr (kCodec == StateCodec::kBlock8) load_block_codes();
  for (std::uint64_t w = warp_of_grid(); w < grid.num_windows; w += warps_of_grid()) {
    const std::uint32_t segment = last_not_above(grid.first_window, grid.num_segments, w);
    const UpdateArrays window = arrays_of_window(grid, segment, w);
    // The compiler leaves out the branches of the other family.
    const Algorithm algorithm = kSgd                                  ? Algorithm::kSgd
                                : grid.algorithm == Algorithm::kAdamW ? Algorithm::kAdamW
                                                                      : Algorithm::kAdam;
    run_rule<CudaOps>(algorithm, grid.segments[segment].constants, WindowUpdate<kCodec>{window});
  }
}

template <StateCodec kCodec>
int launch_update(const UpdateGrid& grid, device::StreamHandle stream) {
  const auto kernel = grid.algorithm == Algorithm::kSgd ? update_kernel<kCodec, true> : update_kernel<kCodec, false>;
  const auto cuda_stream = static_cast<cudaStream_t>(stream.driver_stream);
  kernel<<<blocks_for(grid.num_windows), kBlockThreads, 0, cuda_stream>>>(grid);
  return cudaGetLastError();
}

}  // namespace asterias::hybrid_adam::cuda
