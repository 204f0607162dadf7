// The operations of the formulas (adam_math.hpp, codec_math.hpp) on a CUDA thread: those of ScalarOps, with the
// arithmetic by intrinsics that round once and that the compiler never fuses, whatever its flags.
//
// The integer half of ScalarOps is exact everywhere and is shared as it is. The tables of the 8-bit code lie in shared
// memory, where 32 lanes read 8 different entries in one turn; constant memory would serve them one after another.
#pragma once

#include <bit>
#include <cfloat>
#include <cstdint>
#include <cstring>

#include "hybrid_adam/dynamic_code.hpp"
#include "hybrid_adam/scalar_ops.hpp"
#include "hybrid_adam/update_grid.hpp"

namespace asterias::hybrid_adam::cuda {

__constant__ DynamicCode constant_codes[2] = {kUnsignedCode, kSignedCode};

// The block's copy of both codes: unsigned, signed.
__device__ inline DynamicCode* block_codes() {
  __shared__ DynamicCode codes[2];
  return codes;
}

// Fills the block's copy. Called by all its threads before any of them decodes or encodes 8-bit moments.
__device__ inline void load_block_codes() {
  constexpr unsigned kWords = sizeof(constant_codes) / sizeof(std::uint32_t);
  const auto* const from = reinterpret_cast<const std::uint32_t*>(constant_codes);
  auto* const to = reinterpret_cast<std::uint32_t*>(block_codes());
  for (unsigned i = threadIdx.x; i < kWords; i += blockDim.x) to[i] = from[i];
  __syncthreads();
}

struct CudaOps : portable::ScalarOps {
  static __device__ __forceinline__ V add(V a, V b) { return __fadd_rn(a, b); }
  static __device__ __forceinline__ V sub(V a, V b) { return __fsub_rn(a, b); }
  static __device__ __forceinline__ V mul(V a, V b) { return __fmul_rn(a, b); }
  static __device__ __forceinline__ V mul_add(V a, V b, V c) { return __fmaf_rn(a, b, c); }
  static __device__ __forceinline__ V sqrt(V x) { return __fsqrt_rn(x); }
  static __device__ __forceinline__ V div(V a, V b) { return __fdiv_rn(a, b); }

  static __device__ __forceinline__ double add_square(double sum, V x) { return __fma_rn(double{x}, double{x}, sum); }

  template <bool kSigned>
  static __device__ __forceinline__ const DynamicCode& code() {
    return block_codes()[kSigned];
  }
};

}  // namespace asterias::hybrid_adam::cuda

#define ASTERIAS_FORMULA_SPACE cuda
#define ASTERIAS_FORMULA_INLINE __device__ __forceinline__
#include "hybrid_adam/adam_math.hpp"
#include "hybrid_adam/codec_math.hpp"
#include "hybrid_adam/update_loop-inl.hpp"
#include "hybrid_adam/warp_window-inl.hpp"
#undef ASTERIAS_FORMULA_SPACE
#undef ASTERIAS_FORMULA_INLINE

namespace asterias::hybrid_adam::cuda {

inline constexpr unsigned kBlockThreads = 256;
inline constexpr unsigned kBlockWarps = kBlockThreads / kWarpLanes;
inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ unsigned lane_of_warp() { return threadIdx.x % kWarpLanes; }

// The warp's number in its grid, and the number of warps.
__device__ __forceinline__ std::uint64_t warp_of_grid() {
  return std::uint64_t{blockIdx.x} * kBlockWarps + threadIdx.x / kWarpLanes;
}
__device__ __forceinline__ std::uint64_t warps_of_grid() { return std::uint64_t{gridDim.x} * kBlockWarps; }

// Blocks for `work` warps' worth of work: beyond 8192 (more than any card runs at once) each warp takes several.
inline unsigned blocks_for(std::uint64_t work) {
  const std::uint64_t blocks = (work + kBlockWarps - 1) / kBlockWarps;
  return static_cast<unsigned>(blocks < 8192 ? blocks : 8192);
}

}  // namespace asterias::hybrid_adam::cuda
