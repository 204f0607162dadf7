// Compiled once for each Highway target by foreach_target.h, which includes this file again; what stands under HWY_ONCE
// comes last and once. Highway gives dispatch and the few operations of VectorOps; the arithmetic is adam_math.hpp.
//
// Loads and stores are plain. Measured and left out: non-temporal stores (they lose 8-40 % on Zen 3), software prefetch
// of the next tile array by array (loses 15 % on Zen 4 where the arrays' addresses are well spread; where they coincide
// modulo a large power of two it wins back only half: update_kernel.hpp says what to do instead).
#include "hybrid_adam/update_kernel.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>

#include "base/thread_pool.hpp"
#include "hybrid_adam/highway_targets.hpp"
#include "hybrid_adam/ieee_mode.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hybrid_adam/update_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();

#if !HWY_NATIVE_FMA
#error "this target has no fused multiply-add: HWY_DISABLE_BMI2_FMA must not be defined"
#endif

namespace asterias::hybrid_adam::HWY_NAMESPACE {

struct VectorOps {
  using D = hwy::HWY_NAMESPACE::ScalableTag<float>;
  using V = hwy::HWY_NAMESPACE::Vec<D>;
  static constexpr std::size_t kLanes = HWY_MAX_BYTES / sizeof(float);

  static HWY_INLINE V set(float x) { return hwy::HWY_NAMESPACE::Set(D(), x); }
  static HWY_INLINE V load(const float* from) { return hwy::HWY_NAMESPACE::LoadU(D(), from); }
  static HWY_INLINE void store(V x, float* to) { hwy::HWY_NAMESPACE::StoreU(x, D(), to); }
  static HWY_INLINE V add(V a, V b) { return hwy::HWY_NAMESPACE::Add(a, b); }
  static HWY_INLINE V sub(V a, V b) { return hwy::HWY_NAMESPACE::Sub(a, b); }
  static HWY_INLINE V mul(V a, V b) { return hwy::HWY_NAMESPACE::Mul(a, b); }
  static HWY_INLINE V mul_add(V a, V b, V c) { return hwy::HWY_NAMESPACE::MulAdd(a, b, c); }
  static HWY_INLINE V sqrt(V x) { return hwy::HWY_NAMESPACE::Sqrt(x); }
  static HWY_INLINE V div(V a, V b) { return hwy::HWY_NAMESPACE::Div(a, b); }
  static HWY_INLINE V flush_tiny(V x) {
    namespace hn = hwy::HWY_NAMESPACE;
    return hn::IfThenZeroElse(hn::Lt(hn::Abs(x), hn::Set(D(), FLT_MIN)), x);
  }
};

}  // namespace asterias::hybrid_adam::HWY_NAMESPACE

#define ASTERIAS_FORMULA_SPACE HWY_NAMESPACE
#define ASTERIAS_FORMULA_INLINE HWY_INLINE
#include "hybrid_adam/adam_math.hpp"
#include "hybrid_adam/update_loop-inl.hpp"
#undef ASTERIAS_FORMULA_SPACE
#undef ASTERIAS_FORMULA_INLINE

namespace asterias::hybrid_adam::HWY_NAMESPACE {

void update_here(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays) {
  run_update<VectorOps>(algorithm, constants, arrays);
}

}  // namespace asterias::hybrid_adam::HWY_NAMESPACE

HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE

namespace asterias::hybrid_adam::portable {

// Without -mfma std::fma is a call into libm, which is exact on every machine.
struct ScalarOps {
  using V = float;
  static constexpr std::size_t kLanes = 1;

  static V set(float x) { return x; }
  static V load(const float* from) { return *from; }
  static void store(V x, float* to) { *to = x; }
  static V add(V a, V b) { return a + b; }
  static V sub(V a, V b) { return a - b; }
  static V mul(V a, V b) { return a * b; }
  static V mul_add(V a, V b, V c) { return std::fma(a, b, c); }
  static V sqrt(V x) { return std::sqrt(x); }
  static V div(V a, V b) { return a / b; }
  static V flush_tiny(V x) { return std::fabs(x) < FLT_MIN ? 0.0f : x; }
};

}  // namespace asterias::hybrid_adam::portable

#define ASTERIAS_FORMULA_SPACE portable
#define ASTERIAS_FORMULA_INLINE inline
#include "hybrid_adam/adam_math.hpp"
#include "hybrid_adam/update_loop-inl.hpp"
#undef ASTERIAS_FORMULA_SPACE
#undef ASTERIAS_FORMULA_INLINE

namespace asterias::hybrid_adam {

namespace portable {

[[gnu::noinline]] void update_here(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays) {
  run_update<ScalarOps>(algorithm, constants, arrays);
}

}  // namespace portable

namespace {

using Kernel = void (*)(Algorithm, const UpdateConstants&, const UpdateArrays&);

Kernel kernel_for(SimdTarget target) {
  switch (target) {
#if HWY_TARGETS & HWY_AVX3
    case SimdTarget::kAvx512: return N_AVX3::update_here;
#endif
#if HWY_TARGETS & HWY_AVX2
    case SimdTarget::kAvx2: return N_AVX2::update_here;
#endif
    default: return portable::update_here;
  }
}

}  // namespace

// The guard and the kernel meet only through a function pointer, so the compiler cannot move arithmetic across it.
void update_on(SimdTarget target, Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays) {
  if (arrays.count == 0) return;
  const Kernel kernel = kernel_for(target);
  const IeeeMode mode;
  kernel(algorithm, constants, arrays);
}

void update(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays) {
  update_on(best_target(), algorithm, constants, arrays);
}

void update_parallel(ThreadPool& pool, Algorithm algorithm, const UpdateConstants& constants,
                     const UpdateArrays& arrays) {
  const std::size_t blocks = (arrays.count + kUpdateBlockElements - 1) / kUpdateBlockElements;
  if (blocks <= 1) return update(algorithm, constants, arrays);
  const auto update_block = [&](std::size_t block) {
    const std::size_t begin = block * kUpdateBlockElements;
    const std::size_t count = std::min(kUpdateBlockElements, arrays.count - begin);
    update(algorithm, constants, arrays.part(begin, count));
  };
  pool.parallel_for(blocks, std::cref(update_block));  // by reference: std::function then allocates nothing
}

}  // namespace asterias::hybrid_adam

#endif  // HWY_ONCE
