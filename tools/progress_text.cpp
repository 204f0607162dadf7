#include "tools/progress_text.hpp"

#include <algorithm>
#include <cmath>

#include "tools/number_text.hpp"

namespace asterias::tools {
namespace {

constexpr int kTierWidth = 22;
constexpr int kMeterCells = 8;

double share_of(const TierStats& tier) {
  return static_cast<double>(tier.used_bytes) / static_cast<double>(tier.limit_bytes);
}

std::string meter(double share) {
  const int full = std::clamp(static_cast<int>(std::lround(share * kMeterCells)), 0, kMeterCells);
  std::string text;
  for (int i = 0; i < kMeterCells; ++i) text += i < full ? "█" : "░";
  return text;
}

// "cpu ███████░ 90%", or how much where there is no limit.
std::string live_tier(std::string_view name, const TierStats& tier, const Terminal& terminal) {
  if (tier.limit_bytes == UINT64_MAX) return std::string(name) + " " + bytes_text(tier.used_bytes);
  return std::string(name) + " " + (terminal.has_unicode ? meter(share_of(tier)) + " " : "") +
         printf_text("%.0f%%", 100 * share_of(tier));
}

std::string tier_cell(const TierStats& tier) {
  return bytes_text(tier.used_bytes) + (tier.limit_bytes == UINT64_MAX ? "" : " of " + limit_text(tier.limit_bytes));
}

std::string highlighted(const std::string& text, const Terminal& terminal) {
  return terminal.has_colour ? "\x1b[1m" + text + "\x1b[0m" : text;
}

}  // namespace

std::string live_text(const Progress& progress, const Terminal& terminal) {
  std::string line = highlighted(
      printf_text("step %lld/%lld", static_cast<long long>(progress.step), static_cast<long long>(progress.num_steps)),
      terminal);
  line += printf_text(" %-8.*s", static_cast<int>(progress.phase.size()), progress.phase.data());
  if (progress.last == nullptr) return line + "  warm-up";
  line += printf_text("  loss %s  %.0f tokens/s  %s left", loss_text(progress.last->loss).c_str(),
                      progress.tokens_per_second, duration_text(progress.seconds_left).c_str());
  for (int tier = 0; tier < kNumTiers; ++tier) {
    const auto& stats = progress.last->tiers[static_cast<std::size_t>(tier)];
    if (stats.present) line += "  " + live_tier(tier_name(static_cast<Tier>(tier)), stats, terminal);
  }
  return line;
}

std::string column_heads(const StepStats& stats) {
  std::string line = printf_text("%6s %8s %9s %9s %9s %9s %9s", "step", "loss", "tokens/s", "forward", "backward",
                                 "update", "stalled");
  for (int tier = 0; tier < kNumTiers; ++tier)
    if (stats.tiers[static_cast<std::size_t>(tier)].present)
      line += printf_text("  %*s", kTierWidth, tier_name(static_cast<Tier>(tier)).data());
  return line + "\n";
}

std::string step_row(const StepStats& stats, double tokens_per_second) {
  std::string line =
      printf_text("%6lld %8s %9.0f %9s %9s %9s %9s", static_cast<long long>(stats.step), loss_text(stats.loss).c_str(),
                  tokens_per_second, ms_text(stats.forward_ms).c_str(), ms_text(stats.backward_ms).c_str(),
                  ms_text(stats.update_ms).c_str(), ms_text(stats.stall_fetch_ms + stats.stall_evict_ms).c_str());
  for (const auto& tier : stats.tiers)
    if (tier.present) line += printf_text("  %*s", kTierWidth, tier_cell(tier).c_str());
  if (stats.is_warm_up) line += "  warm-up";
  if (stats.skipped) line += printf_text("  skipped: overflow at loss scale %g", stats.loss_scale);
  return line + "\n";
}

}  // namespace asterias::tools
