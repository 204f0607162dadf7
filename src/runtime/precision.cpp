#include "runtime/precision.hpp"

#include <algorithm>
#include <sstream>
#include <utility>

#include "base/error.hpp"
#include "base/nearest_word.hpp"
#include "runtime/name_pattern.hpp"

namespace asterias::runtime {
namespace {

std::optional<at::ScalarType> half_of(const EngineConfig& config) {
  if (config.fp16.enabled) return at::kHalf;
  if (config.bf16.enabled) return at::kBFloat16;
  return std::nullopt;
}

// The names, and the parts of them that dots divide.
std::vector<std::string> names_and_parts(const std::vector<std::string>& names) {
  std::vector<std::string> words = names;
  for (const auto& name : names) {
    std::istringstream parts(name);
    for (std::string part; std::getline(parts, part, '.');) words.push_back(part);
  }
  return words;
}

// "*.weigth" without its stars and dots at the ends: what was probably meant as a name or a part of one.
std::string word_of(const std::string& pattern) {
  const auto first = pattern.find_first_not_of("*."), last = pattern.find_last_not_of("*.");
  return first == pattern.npos ? "" : pattern.substr(first, last + 1 - first);
}

std::string unmatched_text(const std::string& pattern, const std::vector<std::string>& names) {
  const std::string text = "precision.keep_fp32: \"" + pattern + "\" matches no parameter";
  if (const auto nearest = nearest_word(word_of(pattern), names_and_parts(names)))
    return text + "; the nearest name is \"" + *nearest + "\"";
  return text + (names.empty() ? "; the model has none" : "; the model's first is \"" + names.front() + "\"");
}

bool is_castable(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kDouble || is_16_bit(dtype); }

}  // namespace

Precision::Precision(const EngineConfig& config)
    : half_(half_of(config)),
      keep_fp32_(config.precision.keep_fp32),
      gradients_in_fp32_(config.data_types.grad_accum_dtype == GradAccumDtype::kFp32) {}

bool Precision::keeps(const std::string& name) const { return matches_any(keep_fp32_, name); }

void Precision::refuse_unmatched(const std::vector<std::string>& names) const {
  std::vector<std::string> complaints;
  for (const auto& pattern : keep_fp32_) {
    const auto is_matched = [&](const auto& name) { return matches_any({pattern}, name); };
    if (std::none_of(names.begin(), names.end(), is_matched)) complaints.push_back(unmatched_text(pattern, names));
  }
  if (!complaints.empty()) throw ConfigError(std::move(complaints));
}

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
