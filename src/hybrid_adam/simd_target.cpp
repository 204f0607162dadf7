#include "hybrid_adam/simd_target.hpp"

#include "hybrid_adam/highway_targets.hpp"

namespace asterias::hybrid_adam {

const char* target_name(SimdTarget target) {
  switch (target) {
    case SimdTarget::kPortable: return "portable";
    case SimdTarget::kAvx2: return "avx2";
    case SimdTarget::kAvx512: return "avx512";
  }
  return "unknown";
}

// HWY_TARGETS is what was compiled in, SupportedTargets what the CPU and the operating system's saved registers allow.
std::vector<SimdTarget> available_targets() {
  const std::int64_t runnable = HWY_TARGETS & hwy::SupportedTargets();
  std::vector<SimdTarget> targets{SimdTarget::kPortable};
  if (runnable & HWY_AVX2) targets.push_back(SimdTarget::kAvx2);
  if (runnable & HWY_AVX3) targets.push_back(SimdTarget::kAvx512);
  return targets;
}

SimdTarget best_target() {
  static const SimdTarget best = available_targets().back();
  return best;
}

}  // namespace asterias::hybrid_adam
