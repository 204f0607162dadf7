#include "tools/train_report.hpp"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>

#include "base/byte_size.hpp"
#include "base/process_memory.hpp"
#include "tools/version_text.hpp"

namespace asterias::tools {
namespace {

constexpr int kTierWidth = 22;

// Three digits that matter: "13.0 MiB", "1.37 GiB". What people wrote themselves (whole MiB) stays as they wrote it.
std::string bytes_text(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s",
                unit == 0 || value >= 99.95 ? 0
                : value >= 9.995            ? 1
                                            : 2,
                value, kUnits[unit]);
  return text;
}

std::string limit_text(std::uint64_t bytes) {
  if (bytes == UINT64_MAX) return "no limit";
  return bytes % kMiB == 0 ? format_bytes(bytes) : bytes_text(bytes);
}

// "842496", "45.2 million", "1.30 billion": what people call the size of a model.
std::string count_text(std::uint64_t count) {
  char text[32];
  const auto value = static_cast<double>(count);
  if (count < 1'000'000)
    std::snprintf(text, sizeof text, "%llu", static_cast<unsigned long long>(count));
  else if (count < 1'000'000'000)
    std::snprintf(text, sizeof text, "%.1f million", value / 1e6);
  else
    std::snprintf(text, sizeof text, "%.2f billion", value / 1e9);
  return text;
}

std::string tier_text(const TierStats& tier) {
  return bytes_text(tier.used_bytes) + (tier.limit_bytes == UINT64_MAX ? "" : " of " + limit_text(tier.limit_bytes));
}

std::string ms_text(double ms) {
  char text[32];
  std::snprintf(text, sizeof text, ms < 10'000 ? "%.0f ms" : "%.1f s", ms < 10'000 ? ms : ms / 1e3);
  return text;
}

double seconds(double ms) { return ms / 1e3; }

std::string device_text(const EngineConfig& config) { return config.device == "auto" ? "cpu" : config.device; }

const char* optimizer_text(OptimizerType type) {
  switch (type) {
    case OptimizerType::kAdam: return "Adam";
    case OptimizerType::kAdamW: return "AdamW";
    case OptimizerType::kSgd: return "SGD";
  }
  return "?";
}

}  // namespace

void TrainReport::print_header(const Plan& plan, std::uint64_t data_bytes, int num_threads) {
  const auto& config = options_.config;
  const auto integer = [](std::int64_t value) { return static_cast<long long>(value); };
  std::printf("asterias %s\n\n", program_version().c_str());
  std::printf("data       %s (%s)\n", options_.data_path.c_str(), bytes_text(data_bytes).c_str());
  std::printf("model      GPT, %lld layers, hidden %lld, %lld heads, sequences of %lld", integer(options_.model.layers),
              integer(options_.model.hidden), integer(options_.model.heads), integer(options_.model.sequence));
  if (options_.model.dropout > 0) std::printf(", dropout %g", options_.model.dropout);
  std::printf("\n           %s parameters; model data %s in chunks of %s\n", count_text(plan.num_parameters).c_str(),
              bytes_text(plan.model_data_bytes).c_str(), bytes_text(plan.chunk_bytes).c_str());
  std::printf("training   %lld steps of %lld tokens", integer(options_.steps), integer(options_.tokens_per_step()));
  if (options_.accumulate > 1) std::printf(" in %lld passes", integer(options_.accumulate));
  std::printf(", %s, lr %g", optimizer_text(config.optimizer.type), config.optimizer.params.lr.value_or(0));
  const double clipping = config.gradient_clipping.value_or(0);
  if (clipping > 0) std::printf(", clipping at %g", clipping);
  std::printf(", seed %llu\n", static_cast<unsigned long long>(options_.seed));
  std::printf("device     %s, %d thread%s, update in %s\n", device_text(config).c_str(), num_threads,
              num_threads == 1 ? "" : "s", update_simd_target().c_str());
  std::string budgets;
  for (const auto& tier : plan.tiers)
    budgets += (budgets.empty() ? "" : ", ") + std::string(tier_name(tier.tier)) + " " + limit_text(tier.limit_bytes);
  std::printf("budgets    %s", budgets.c_str());
  for (const auto& path : config.tiers.nvme.paths)
    std::printf("%s%s", &path == &config.tiers.nvme.paths.front() ? " in " : ", ", path.c_str());
  std::printf("\n\n");
  std::fflush(stdout);
}

void TrainReport::print_step(const StepStats& stats, double wall_ms) {
  if (totals_.num_steps == 0) print_column_heads(stats);
  add(stats, wall_ms);
  std::printf("%6lld %8.4f %9.0f %9s %9s %9s %9s", static_cast<long long>(stats.step), stats.loss,
              static_cast<double>(options_.tokens_per_step()) / seconds(wall_ms), ms_text(stats.forward_ms).c_str(),
              ms_text(stats.backward_ms).c_str(), ms_text(stats.update_ms).c_str(),
              ms_text(stats.stall_fetch_ms + stats.stall_evict_ms).c_str());
  for (const auto& tier : stats.tiers)
    if (tier.present) std::printf("  %*s", kTierWidth, tier_text(tier).c_str());
  std::printf("%s\n", stats.is_warm_up ? "  warm-up" : "");
  std::fflush(stdout);
}

void TrainReport::print_column_heads(const StepStats& stats) const {
  std::printf("%6s %8s %9s %9s %9s %9s %9s", "step", "loss", "tokens/s", "forward", "backward", "update", "stalled");
  for (int tier = 0; tier < kNumTiers; ++tier)
    if (stats.tiers[static_cast<std::size_t>(tier)].present)
      std::printf("  %*s", kTierWidth, tier_name(static_cast<Tier>(tier)).data());
  std::printf("\n");
}

void TrainReport::add(const StepStats& stats, double wall_ms) {
  if (totals_.num_steps++ == 0) totals_.first_loss = stats.loss;
  totals_.last_loss = stats.loss;
  if (!stats.is_warm_up) {
    ++totals_.num_warm;
    totals_.warm_ms += wall_ms;
  }
  totals_.forward_ms += stats.forward_ms;
  totals_.backward_ms += stats.backward_ms;
  totals_.update_ms += stats.update_ms;
  totals_.stall_fetch_ms += stats.stall_fetch_ms;
  totals_.stall_evict_ms += stats.stall_evict_ms;
  totals_.h2d_bytes += stats.h2d_bytes;
  totals_.d2h_bytes += stats.d2h_bytes;
  totals_.nvme_read_bytes += stats.nvme_read_bytes;
  totals_.nvme_write_bytes += stats.nvme_write_bytes;
  for (std::size_t tier = 0; tier < tiers_.size(); ++tier) {
    const std::uint64_t peak = std::max(tiers_[tier].peak_bytes, stats.tiers[tier].peak_bytes);
    tiers_[tier] = stats.tiers[tier];
    tiers_[tier].peak_bytes = peak;
  }
}

void TrainReport::print_summary(double total_seconds) const {
  std::printf("\n%-11s%12s%14s\n", "tier", "budget", "peak");
  print_tiers();
  std::printf("\n%-11s%12s\n", "edge", "moved");
  const auto edge = [](const char* name, std::uint64_t bytes) {
    std::printf("%-11s%12s\n", name, bytes_text(bytes).c_str());
  };
  edge("H2D", totals_.h2d_bytes);
  edge("D2H", totals_.d2h_bytes);
  edge("NVMe read", totals_.nvme_read_bytes);
  edge("NVMe write", totals_.nvme_write_bytes);
  std::printf("\ntime       %.1f s: forward %.1f s, backward %.1f s, update %.1f s\n", total_seconds,
              seconds(totals_.forward_ms), seconds(totals_.backward_ms), seconds(totals_.update_ms));
  std::printf("stalled    %.1f s of it: %.1f s for bytes to arrive, %.1f s for room\n",
              seconds(totals_.stall_fetch_ms + totals_.stall_evict_ms), seconds(totals_.stall_fetch_ms),
              seconds(totals_.stall_evict_ms));
  if (totals_.num_warm > 0)
    std::printf("step       %s on average after warm-up\n",
                ms_text(totals_.warm_ms / static_cast<double>(totals_.num_warm)).c_str());
  std::printf("loss       %.4f at first, %.4f at last\n", totals_.first_loss, totals_.last_loss);
}

void TrainReport::print_tiers() const {
  for (int tier = 0; tier < kNumTiers; ++tier) {
    const auto& at = tiers_[static_cast<std::size_t>(tier)];
    if (!at.present) continue;
    std::printf("%-11s%12s%14s", tier_name(static_cast<Tier>(tier)).data(), limit_text(at.limit_bytes).c_str(),
                bytes_text(at.peak_bytes).c_str());
    if (static_cast<Tier>(tier) == Tier::kCpu)
      std::printf("   VmHWM %s (%llu bytes)", bytes_text(peak_resident_set_bytes()).c_str(),
                  static_cast<unsigned long long>(peak_resident_set_bytes()));
    std::printf("\n");
  }
}

}  // namespace asterias::tools
