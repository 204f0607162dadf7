#include "tools/model_presets.hpp"

#include <cstdint>

namespace asterias::tools {
namespace {

struct Preset {
  const char* name;
  ModelOptions model;
};

constexpr ModelOptions gpt(std::int64_t layers, std::int64_t hidden, std::int64_t heads) {
  return {.kind = ModelKind::kGpt, .vocabulary = 50257, .layers = layers, .hidden = hidden, .heads = heads};
}

constexpr ModelOptions llama(std::int64_t layers, std::int64_t hidden, std::int64_t heads) {
  return {.kind = ModelKind::kLlama, .vocabulary = 32000, .layers = layers, .hidden = hidden, .heads = heads};
}

constexpr ModelOptions llama_3(std::int64_t layers, std::int64_t hidden, std::int64_t heads,
                               std::int64_t intermediate) {
  return {.kind = ModelKind::kLlama,
          .vocabulary = 128256,
          .layers = layers,
          .hidden = hidden,
          .heads = heads,
          .kv_heads = 8,
          .intermediate = intermediate,
          .rope_theta = 500000};
}

// GPT-3's paper has 24 heads of 128 in its 1.3B, which is not its width, and a 13B that is 5140 wide, which is no
// multiple of its heads; both are taken as those who trained them again took them.
constexpr Preset kPresets[] = {
    {"125m", gpt(12, 768, 12)},         {"350m", gpt(24, 1024, 16)},
    {"760m", gpt(24, 1536, 16)},        {"1.3b", gpt(24, 2048, 16)},
    {"2.7b", gpt(32, 2560, 32)},        {"6.7b", gpt(32, 4096, 32)},
    {"13b", gpt(40, 5120, 40)},         {"llama-7b", llama(32, 4096, 32)},
    {"llama-13b", llama(40, 5120, 40)}, {"llama-3-8b", llama_3(32, 4096, 32, 14336)},
};

}  // namespace

std::optional<ModelOptions> find_preset(std::string_view name) {
  for (const auto& preset : kPresets)
    if (name == preset.name) return preset.model;
  return std::nullopt;
}

std::string preset_names() {
  std::string names;
  for (const auto& preset : kPresets) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

}  // namespace asterias::tools
