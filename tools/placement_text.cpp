#include "tools/placement_text.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "tools/number_text.hpp"

namespace asterias::tools {
namespace {

constexpr int kWidestBar = 100;
constexpr int kNameWidth = 10;

struct KindLook {
  const char* unicode;
  const char* ascii;
  const char* colour;  // SGR parameters
};

constexpr std::array<KindLook, kNumContentKinds> kLooks{{
    {"█", "P", "34"},  // param
    {"▓", "G", "31"},  // grad
    {"▙", "W", "36"},  // master
    {"▒", "m", "32"},  // exp_avg
    {"░", "v", "33"},  // exp_avg_sq
    {"▞", "a", "35"},  // activations
    {"▪", "o", "37"},  // other
    {"▄", "L", "90"},  // libraries
}};

std::string cells(std::size_t kind, int count, const Terminal& terminal) {
  if (count <= 0) return "";
  const auto& look = kLooks[kind];
  std::string text;
  for (int i = 0; i < count; ++i) text += terminal.has_unicode ? look.unicode : look.ascii;
  return terminal.has_colour ? "\x1b[" + std::string(look.colour) + "m" + text + "\x1b[0m" : text;
}

// Empty where there is no limit.
std::uint64_t whole_of(const Plan::TierPlan& tier) {
  return tier.limit_bytes == UINT64_MAX ? tier.predicted_peak_bytes : tier.limit_bytes;
}

std::string table(const Plan& plan) {
  std::string text = printf_text("%-*s%12s%14s%14s\n", kNameWidth + 1, "tier", "limit", "will hold", "working set");
  for (const auto& tier : plan.tiers) {
    text += printf_text("%-*s%12s%14s", kNameWidth + 1, tier_name(tier.tier).data(),
                        limit_text(tier.limit_bytes).c_str(), bytes_text(tier.predicted_peak_bytes).c_str());
    if (tier.working_set_bytes > 0) text += printf_text("%14s", bytes_text(tier.working_set_bytes).c_str());
    if (tier.working_set_bytes > 0 && !tier.working_set_at.empty()) text += "   in " + tier.working_set_at;
    text += "\n";
  }
  return text;
}

std::string bar(const Plan::TierPlan& tier, const Terminal& terminal) {
  const int columns = std::clamp(terminal.columns - kNameWidth - 4, 10, kWidestBar);
  return content_bar(tier.predicted_by_kind, whole_of(tier), columns, terminal);
}

std::string bars(const Plan& plan, const Terminal& terminal) {
  const char* left = terminal.has_unicode ? "▕" : "[";
  const char* right = terminal.has_unicode ? "▏" : "]";
  std::string text;
  for (const auto& tier : plan.tiers)
    text +=
        printf_text("%-*s%s%s%s\n", kNameWidth, tier_name(tier.tier).data(), left, bar(tier, terminal).c_str(), right);
  return text;
}

bool has_cells(const Plan& plan, std::size_t kind, Terminal terminal) {
  terminal.has_colour = false;
  const std::string cell = cells(kind, 1, terminal);
  return std::any_of(plan.tiers.begin(), plan.tiers.end(),
                     [&](const auto& tier) { return bar(tier, terminal).find(cell) != std::string::npos; });
}

// The kinds that the bars show, wrapped to the terminal.
std::string legend(const Plan& plan, const Terminal& terminal) {
  const std::string indent(kNameWidth - 1, ' ');
  std::string text, line = indent;
  for (std::size_t kind = 0; kind < kNumContentKinds; ++kind) {
    if (!has_cells(plan, kind, terminal)) continue;
    std::string entry = "  " + cells(kind, 1, terminal) + " ";
    entry += content_kind_name(static_cast<ContentKind>(kind));
    if (columns_of(line + entry) > terminal.columns) {
      text += line + "\n";
      line = indent;
    }
    line += entry;
  }
  return line == indent ? text : text + line + "\n";
}

}  // namespace

std::string content_bar(const ContentBytes& bytes, std::uint64_t whole_bytes, int columns, const Terminal& terminal) {
  std::string bar;
  int num_drawn = 0;
  double sum = 0;
  for (std::size_t kind = 0; kind < bytes.size(); ++kind) {
    sum += static_cast<double>(bytes[kind]);
    const double share = whole_bytes == 0 ? 0 : sum / static_cast<double>(whole_bytes);
    const int end = static_cast<int>(std::lround(std::min(share, 1.0) * columns));
    bar += cells(kind, end - num_drawn, terminal);
    num_drawn = end;
  }
  return bar + std::string(static_cast<std::size_t>(columns - num_drawn), ' ');
}

std::string placement_text(const Plan& plan, const Terminal& terminal) {
  return "placement of a step after the first, by tier\n" + table(plan) + "\n" + bars(plan, terminal) +
         legend(plan, terminal);
}

}  // namespace asterias::tools
