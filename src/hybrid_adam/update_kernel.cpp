// Compiled once for each Highway target by foreach_target.h, which includes this file again; what stands under HWY_ONCE
// comes last and once. Highway gives dispatch and most operations of VectorOps; the arithmetic is adam_math.hpp and
// codec_math.hpp.
//
// Loads and stores are plain. Measured and left out: non-temporal stores (they lose 8-40 % on Zen 3), software prefetch
// of the next tile array by array (loses 15 % on Zen 4 where the arrays' addresses are well spread; where they coincide
// modulo a large power of two it wins back only half: update_kernel.hpp says what to do instead).
#include "hybrid_adam/update_kernel.hpp"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "hybrid_adam/dynamic_code.hpp"
#include "hybrid_adam/highway_targets.hpp"
#include "hybrid_adam/ieee_mode.hpp"
#include "hybrid_adam/scalar_ops.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "hybrid_adam/update_kernel.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();

#include "hybrid_adam/vector_ops-inl.hpp"

#define ASTERIAS_FORMULA_SPACE HWY_NAMESPACE
#define ASTERIAS_FORMULA_INLINE HWY_INLINE
#include "hybrid_adam/adam_math.hpp"
#include "hybrid_adam/codec_math.hpp"
#include "hybrid_adam/update_loop-inl.hpp"
#include "hybrid_adam/window_loop-inl.hpp"
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

#define ASTERIAS_FORMULA_SPACE portable
#define ASTERIAS_FORMULA_INLINE inline
#include "hybrid_adam/adam_math.hpp"
#include "hybrid_adam/codec_math.hpp"
#include "hybrid_adam/update_loop-inl.hpp"
#include "hybrid_adam/window_loop-inl.hpp"
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
  check_formats(algorithm, constants, arrays);
  const Kernel kernel = kernel_for(target);
  const IeeeMode mode;
  for (UpdateArrays rest = arrays; rest.count > 0;) {
    const std::size_t count = elements_of_span(rest);
    kernel(algorithm, constants, rest.part(0, count));
    rest = rest.part(count, rest.count - count);
  }
}

void update(Algorithm algorithm, const UpdateConstants& constants, const UpdateArrays& arrays) {
  update_on(best_target(), algorithm, constants, arrays);
}

void update_parallel(ThreadPool& pool, Algorithm algorithm, const UpdateConstants& constants,
                     const UpdateArrays& arrays) {
  const std::size_t blocks = (arrays.count + kUpdateBlockElements - 1) / kUpdateBlockElements;
  if (blocks <= 1) return update(algorithm, constants, arrays);
  check_formats(algorithm, constants, arrays);  // here, so that no thread throws
  const auto update_block = [&](std::size_t block) {
    const std::size_t begin = block * kUpdateBlockElements;
    const std::size_t count = std::min(kUpdateBlockElements, arrays.count - begin);
    update(algorithm, constants, arrays.part(begin, count));
  };
  pool.parallel_for(blocks, std::cref(update_block));  // by reference: std::function then allocates nothing
}

}  // namespace asterias::hybrid_adam

#endif  // HWY_ONCE
