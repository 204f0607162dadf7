// The model to train: which of models/ it is, and its sizes.
//
// One value for both, so that flags, presets and texts name a size once; gpt() and llama() are what the models take.
//
// Threading: a plain value.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "models/gpt_options.hpp"
#include "models/llama_options.hpp"

namespace asterias::tools {

enum class ModelKind : std::uint8_t { kGpt, kLlama };

// "gpt" and "llama". Empty for other names.
std::optional<ModelKind> find_model_kind(std::string_view name);

struct ModelOptions {
  ModelKind kind = ModelKind::kGpt;
  std::int64_t vocabulary = 256;
  std::int64_t sequence = 128;
  std::int64_t layers = 4;
  std::int64_t hidden = 128;
  std::int64_t heads = 4;
  // A GPT's.
  double dropout = 0;
  // A Llama's.
  std::optional<std::int64_t> kv_heads = std::nullopt;      // unset: as many as heads
  std::optional<std::int64_t> intermediate = std::nullopt;  // unset: the usual one of hidden
  double rope_theta = 10000;

  bool is_llama() const { return kind == ModelKind::kLlama; }

  models::GptOptions gpt() const;
  models::LlamaOptions llama() const;
};

}  // namespace asterias::tools
