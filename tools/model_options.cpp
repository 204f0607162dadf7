#include "tools/model_options.hpp"

namespace asterias::tools {

std::optional<ModelKind> find_model_kind(std::string_view name) {
  if (name == "gpt") return ModelKind::kGpt;
  if (name == "llama") return ModelKind::kLlama;
  return std::nullopt;
}

models::GptOptions ModelOptions::gpt() const {
  return {.vocabulary = vocabulary,
          .sequence = sequence,
          .layers = layers,
          .hidden = hidden,
          .heads = heads,
          .dropout = dropout};
}

models::LlamaOptions ModelOptions::llama() const {
  return {.vocabulary = vocabulary,
          .layers = layers,
          .hidden = hidden,
          .heads = heads,
          .kv_heads = kv_heads.value_or(heads),
          .intermediate = intermediate.value_or(models::LlamaOptions::usual_intermediate(hidden)),
          .rope_theta = rope_theta};
}

}  // namespace asterias::tools
