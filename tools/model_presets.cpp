#include "tools/model_presets.hpp"

#include <cstdint>

namespace asterias::tools {
namespace {

struct Preset {
  const char* name;
  std::int64_t layers, hidden, heads;
};

// The paper's 1.3B has 24 heads of 128, which is not its width, and its 13B is 5140 wide, which is no multiple of its
// heads; both are taken as those who trained them again took them.
constexpr Preset kPresets[] = {
    {"125m", 12, 768, 12},  {"350m", 24, 1024, 16}, {"760m", 24, 1536, 16}, {"1.3b", 24, 2048, 16},
    {"2.7b", 32, 2560, 32}, {"6.7b", 32, 4096, 32}, {"13b", 40, 5120, 40},
};

constexpr std::int64_t kVocabulary = 50257;

}  // namespace

std::optional<models::GptOptions> find_preset(std::string_view name) {
  for (const auto& preset : kPresets) {
    if (name != preset.name) continue;
    models::GptOptions model;
    model.vocabulary = kVocabulary;
    model.layers = preset.layers;
    model.hidden = preset.hidden;
    model.heads = preset.heads;
    return model;
  }
  return std::nullopt;
}

std::string preset_names() {
  std::string names;
  for (const auto& preset : kPresets) names += (names.empty() ? "" : ", ") + std::string(preset.name);
  return names;
}

}  // namespace asterias::tools
