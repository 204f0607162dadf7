// Casts, the codecs alone, and the sum of squares. An element per thread where elements are alone, a warp per window or
// block where they are not.
#include <cuda_runtime.h>

#include "hybrid_adam/cuda/cuda_ops.cuh"
#include "hybrid_adam/cuda/launches.hpp"
#include "hybrid_adam/norm.hpp"

namespace asterias::hybrid_adam::cuda {
namespace {

static_assert(kNormLanes == kWarpLanes);

cudaStream_t cuda_stream(device::StreamHandle stream) { return static_cast<cudaStream_t>(stream.driver_stream); }

__device__ __forceinline__ std::size_t thread_of_grid() {
  return std::size_t{blockIdx.x} * kBlockThreads + threadIdx.x;
}
__device__ __forceinline__ std::size_t threads_of_grid() { return std::size_t{gridDim.x} * kBlockThreads; }

unsigned blocks_for_elements(std::size_t count) { return blocks_for((count + kWarpLanes - 1) / kWarpLanes); }

__global__ void __launch_bounds__(kBlockThreads)
    accumulate_kernel(float* __restrict__ into, const ConstNumbers from, const std::size_t count) {
  for (std::size_t i = thread_of_grid(); i < count; i += threads_of_grid())
    into[i] = CudaOps::add(into[i], load_number<CudaOps>(from.type, from.data, i));
}

__global__ void __launch_bounds__(kBlockThreads)
    cast_kernel(const float* __restrict__ from, const Numbers16 to, const std::size_t count) {
  for (std::size_t i = thread_of_grid(); i < count; i += threads_of_grid())
    store_number_16<CudaOps>(to.type, from[i], to.data, i);
}

template <StateCodec kCodec, bool kSigned>
__global__ void __launch_bounds__(kBlockThreads)
    decode_kernel(const MomentArray from, float* __restrict__ to, const std::size_t count) {
  if constexpr (kCodec == StateCodec::kBlock8) load_block_codes();
  const std::size_t windows = (count + kBlock8Elements - 1) / kBlock8Elements;
  for (std::uint64_t w = warp_of_grid(); w < windows; w += warps_of_grid()) {
    const std::size_t begin = w * kBlock8Elements;
    const MomentArray window = from.from(begin);
    const std::size_t window_count = elements_from(begin, count, kBlock8Elements);
    for (std::size_t i = lane_of_warp(); i < window_count; i += kWarpLanes)
      to[begin + i] = load_moment<CudaOps, kCodec, kSigned>(window, i);
  }
}

template <StateCodec kCodec, bool kSigned>
__global__ void __launch_bounds__(kBlockThreads)
    encode_kernel(const float* __restrict__ from, const MomentArray to, const std::size_t count,
                  const std::uint32_t first_element, const std::uint64_t key) {
  if constexpr (kCodec == StateCodec::kBlock8) load_block_codes();
  const std::size_t windows = (count + kBlock8Elements - 1) / kBlock8Elements;
  for (std::uint64_t w = warp_of_grid(); w < windows; w += warps_of_grid()) {
    const std::size_t begin = w * kBlock8Elements;
    EncodeLane<CudaOps, kCodec, kSigned> lane(lane_of_warp(), elements_from(begin, count, kBlock8Elements));
    lane.load(from + begin);
    const std::uint32_t largest = __reduce_max_sync(kAllLanes, lane.largest());
    lane.finish(largest, to.from(begin), first_element + static_cast<std::uint32_t>(begin), key);
  }
}

// Folds the lanes as norm.hpp's tree: lane l takes lane l + 16, then l + 8, ... The result is lane 0's.
__device__ __forceinline__ double fold_warp(double lane_sum) {
  for (unsigned half = kWarpLanes / 2; half > 0; half /= 2)
    lane_sum = __dadd_rn(lane_sum, __shfl_down_sync(kAllLanes, lane_sum, half));
  return lane_sum;
}

__global__ void __launch_bounds__(kBlockThreads)
    sum_blocks_kernel(const __grid_constant__ SquareSumGrid grid, double* __restrict__ block_sums) {
  for (std::uint64_t b = warp_of_grid(); b < grid.num_blocks; b += warps_of_grid()) {
    const std::uint32_t index = last_not_above(grid.first_block, grid.num_arrays, b);
    const NumberArray& array = grid.arrays[index];
    const std::size_t begin = (b - grid.first_block[index]) * kNormBlockElements;
    const double lane_sum = square_sum_of_lane<CudaOps>(
        array.values.from(begin), elements_from(begin, array.count, kNormBlockElements), lane_of_warp());
    const double sum = fold_warp(lane_sum);
    if (lane_of_warp() == 0) block_sums[b] = sum;
  }
}

// A warp per array: it reads 32 sums at a time, and every lane adds all of them in order.
__global__ void __launch_bounds__(kBlockThreads)
    sum_arrays_kernel(const __grid_constant__ SquareSumGrid grid, const double* __restrict__ block_sums,
                      double* __restrict__ sums) {
  const std::uint64_t index = warp_of_grid();
  if (index >= grid.num_arrays) return;
  const std::uint64_t begin = grid.first_block[index];
  const std::uint64_t end = index + 1 < grid.num_arrays ? grid.first_block[index + 1] : grid.num_blocks;
  double sum = 0.0;
  for (std::uint64_t b = begin; b < end; b += kWarpLanes) {
    const std::uint64_t own = b + lane_of_warp();
    const double part = own < end ? block_sums[own] : 0.0;
    const unsigned parts = static_cast<unsigned>(elements_from(b, end, kWarpLanes));
    for (unsigned k = 0; k < parts; ++k) sum = __dadd_rn(sum, __shfl_sync(kAllLanes, part, static_cast<int>(k)));
  }
  if (lane_of_warp() == 0) sums[index] = sum;
}

template <StateCodec kCodec>
void decode_as(Moment moment, const MomentArray& from, float* to, std::size_t count, cudaStream_t stream) {
  const auto kernel = moment == Moment::kExpAvg ? decode_kernel<kCodec, true> : decode_kernel<kCodec, false>;
  kernel<<<blocks_for((count + kBlock8Elements - 1) / kBlock8Elements), kBlockThreads, 0, stream>>>(from, to, count);
}

template <StateCodec kCodec>
void encode_as(Moment moment, const float* from, const MomentArray& to, std::size_t count, std::uint32_t first_element,
               std::uint64_t key, cudaStream_t stream) {
  const auto kernel = moment == Moment::kExpAvg ? encode_kernel<kCodec, true> : encode_kernel<kCodec, false>;
  kernel<<<blocks_for((count + kBlock8Elements - 1) / kBlock8Elements), kBlockThreads, 0, stream>>>(from, to, count,
                                                                                                    first_element, key);
}

}  // namespace

int launch_accumulate(float* into, ConstNumbers from, std::size_t count, device::StreamHandle stream) {
  accumulate_kernel<<<blocks_for_elements(count), kBlockThreads, 0, cuda_stream(stream)>>>(into, from, count);
  return cudaGetLastError();
}

int launch_cast(const float* from, Numbers16 to, std::size_t count, device::StreamHandle stream) {
  cast_kernel<<<blocks_for_elements(count), kBlockThreads, 0, cuda_stream(stream)>>>(from, to, count);
  return cudaGetLastError();
}

int launch_decode(Moment moment, const MomentArray& from, float* to, std::size_t count, device::StreamHandle stream) {
  switch (from.codec) {
    case StateCodec::kFloat32: decode_as<StateCodec::kFloat32>(moment, from, to, count, cuda_stream(stream)); break;
    case StateCodec::kBfloat16: decode_as<StateCodec::kBfloat16>(moment, from, to, count, cuda_stream(stream)); break;
    case StateCodec::kBlock8: decode_as<StateCodec::kBlock8>(moment, from, to, count, cuda_stream(stream)); break;
  }
  return cudaGetLastError();
}

int launch_encode(Moment moment, const float* from, const MomentArray& to, std::size_t count,
                  std::uint32_t first_element, std::uint64_t key, device::StreamHandle stream) {
  const auto encode = [&](auto run) { run(moment, from, to, count, first_element, key, cuda_stream(stream)); };
  switch (to.codec) {
    case StateCodec::kFloat32: encode(encode_as<StateCodec::kFloat32>); break;
    case StateCodec::kBfloat16: encode(encode_as<StateCodec::kBfloat16>); break;
    case StateCodec::kBlock8: encode(encode_as<StateCodec::kBlock8>); break;
  }
  return cudaGetLastError();
}

int launch_sum_blocks(const SquareSumGrid& grid, double* block_sums, device::StreamHandle stream) {
  sum_blocks_kernel<<<blocks_for(grid.num_blocks), kBlockThreads, 0, cuda_stream(stream)>>>(grid, block_sums);
  return cudaGetLastError();
}

int launch_sum_arrays(const SquareSumGrid& grid, const double* block_sums, double* sums, device::StreamHandle stream) {
  sum_arrays_kernel<<<blocks_for(grid.num_arrays), kBlockThreads, 0, cuda_stream(stream)>>>(grid, block_sums, sums);
  return cudaGetLastError();
}

}  // namespace asterias::hybrid_adam::cuda
