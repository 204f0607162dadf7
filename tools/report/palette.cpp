#include "tools/report/palette.hpp"

#include <algorithm>
#include <iterator>

namespace asterias::tools::report {
namespace {

struct Colour {
  std::string_view name, light, dark;
};

constexpr Colour kColours[] = {
    // what lies on a tier
    {"param", "#2a6fd0", "#5fa0f0"},
    {"master", "#4a2377", "#8b5fd0"},
    {"grad", "#d9541e", "#ee6f3a"},
    {"exp_avg", "#12805c", "#0f8f62"},
    {"exp_avg_sq", "#7fd3a4", "#86e3b4"},
    {"activations", "#f2b134", "#f5c04f"},
    {"other", "#a39a8c", "#9d968a"},
    {"libraries", "#46474d", "#565860"},
    // phases
    {"forward", "#8fd6e8", "#a5e3f2"},
    {"backward", "#2a9fbf", "#36aacb"},
    {"update", "#0f5a73", "#1c7592"},
    {"rest", "#dfe2e6", "#33373d"},
    // edges, and the stalls that wait for them
    {"h2d", "#ee9bcb", "#f7b8dc"},
    {"d2h", "#9c2468", "#bb3a83"},
    {"nvme_read", "#a5702c", "#c98c48"},
    {"nvme_write", "#57300d", "#855024"},
    // tiers
    {"gpu", "#23356e", "#3f5fb5"},
    {"cpu", "#5f9a94", "#63a69f"},
    {"nvme", "#e6d9a8", "#efe3b4"},
    // what cost no time, and what did: evictions, fetches
    {"cheap", "#b4bfcc", "#8e9aa8"},
    {"dear", "#56636f", "#dce3ea"},
    // all that has no kind of its own
    {"ink", "#1d2229", "#e8eaed"},
    {"validation", "#0d8a8a", "#4fd1c5"},
    {"compute", "#6b7480", "#a0a8b3"},
    {"limit", "#b3122a", "#ff6b7d"},
};

std::string variables(std::string_view Colour::*theme) {
  std::string css;
  for (const auto& colour : kColours) css += "--" + std::string(colour.name) + ":" + std::string(colour.*theme) + ";";
  return css;
}

}  // namespace

std::vector<std::string_view> colour_names() {
  std::vector<std::string_view> names;
  for (const auto& colour : kColours) names.push_back(colour.name);
  return names;
}

std::string_view known_colour(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kColours), std::end(kColours), [&](const Colour& colour) { return colour.name == name; });
  return found == std::end(kColours) ? "other" : found->name;
}

std::string palette_css() {
  std::string css = ":root{" + variables(&Colour::light) + "}\n@media (prefers-color-scheme:dark){:root{" +
                    variables(&Colour::dark) + "}}\n";
  for (const auto& colour : kColours) {
    const std::string name(colour.name);
    css += ".fill-" + name + "{fill:var(--" + name + ")}.line-" + name + "{stroke:var(--" + name + ")}\n";
  }
  return css + ".fill-stall{fill:url(#stall)}\n";
}

}  // namespace asterias::tools::report
