#include "runtime/precision.hpp"

#include "base/error.hpp"
#include "runtime/name_pattern.hpp"

namespace asterias::runtime {
namespace {

std::optional<at::ScalarType> half_of(const EngineConfig& config) {
  if (config.fp16.enabled) return at::kHalf;
  if (config.bf16.enabled) return at::kBFloat16;
  return std::nullopt;
}

bool is_castable(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kDouble || is_16_bit(dtype); }

}  // namespace

Precision::Precision(const EngineConfig& config)
    : half_(half_of(config)),
      keep_fp32_(config.precision.keep_fp32),
      gradients_in_fp32_(config.data_types.grad_accum_dtype == GradAccumDtype::kFp32) {}

bool Precision::keeps(const std::string& name) const { return matches_any(keep_fp32_, name); }

at::ScalarType Precision::cast(at::ScalarType dtype) const { return half_ && is_castable(dtype) ? *half_ : dtype; }

hybrid_adam::NumberType number_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return hybrid_adam::NumberType::kFloat32;
    case at::kHalf: return hybrid_adam::NumberType::kFloat16;
    case at::kBFloat16: return hybrid_adam::NumberType::kBfloat16;
    default: throw StateError(StateError::Cause::kBug, std::string("no kernel works on ") + c10::toString(dtype));
  }
}

hybrid_adam::StateCodec state_codec(StateDtype dtype) {
  switch (dtype) {
    case StateDtype::kFp32: return hybrid_adam::StateCodec::kFloat32;
    case StateDtype::kBf16: return hybrid_adam::StateCodec::kBfloat16;
    case StateDtype::k8Bit: return hybrid_adam::StateCodec::kBlock8;
  }
  throw StateError(StateError::Cause::kBug, "no such format of state");
}

}  // namespace asterias::runtime
