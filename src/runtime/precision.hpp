// Which dtype each parameter and each input of the module gets, as the configuration says.
//
// fp16 and bf16 cast what module.to(dtype) would: floating parameters; `keep_fp32` names those that stay as they are.
// Not here: masters (model_data.hpp), which every trainable 16-bit parameter has whoever made it 16-bit.
//
// Threading: immutable.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <c10/core/ScalarType.h>

#include "hybrid_adam/number_arrays.hpp"
#include "runtime/config.hpp"

namespace asterias::runtime {

class Precision {
 public:
  explicit Precision(const EngineConfig& config);

  // Empty where nothing is cast.
  std::optional<at::ScalarType> half() const { return half_; }
  bool keeps(const std::string& name) const;
  // Throws ConfigError for patterns of keep_fp32 that match none of the parameters' `names`; says which name is near.
  void refuse_unmatched(const std::vector<std::string>& names) const;
  // The dtype that a tensor of `dtype` is cast to; itself where it is not.
  at::ScalarType cast(at::ScalarType dtype) const;
  // The dtype that gradients of a parameter of `dtype` are kept in.
  at::ScalarType gradient_of(at::ScalarType dtype) const { return gradients_in_fp32_ ? at::kFloat : dtype; }

 private:
  std::optional<at::ScalarType> half_;
  std::vector<std::string> keep_fp32_;
  bool gradients_in_fp32_;
};

// The kernels' name of a dtype. REQUIRES: kFloat, kHalf or kBFloat16.
hybrid_adam::NumberType number_type(at::ScalarType dtype);

// The kernels' name of a format of state.
hybrid_adam::StateCodec state_codec(StateDtype dtype);

constexpr bool is_16_bit(at::ScalarType dtype) { return dtype == at::kHalf || dtype == at::kBFloat16; }

}  // namespace asterias::runtime
