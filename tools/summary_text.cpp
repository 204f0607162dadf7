#include "tools/summary_text.hpp"

#include <algorithm>

#include "tools/number_text.hpp"

namespace asterias::tools {
namespace {

double seconds(double ms) { return ms / 1e3; }

std::string vm_hwm_text(std::uint64_t bytes) {
  return "   VmHWM " + bytes_text(bytes) + printf_text(" (%llu bytes)", static_cast<unsigned long long>(bytes));
}

std::string tiers_text(const RunEnd& end) {
  std::string text = printf_text("%-11s%12s%14s%14s\n", "tier", "limit", "predicted", "peak");
  for (const auto& tier : end.plan.tiers)
    text += printf_text("%-11s%12s%14s%14s%s\n", tier_name(tier.tier).data(), limit_text(tier.limit_bytes).c_str(),
                        end.plan.is_measured ? bytes_text(tier.predicted_peak_bytes).c_str() : "",
                        bytes_text(end.totals.tiers[static_cast<std::size_t>(tier.tier)].peak_bytes).c_str(),
                        tier.tier == Tier::kCpu ? vm_hwm_text(end.peak_resident_bytes).c_str() : "");
  return text;
}

bool has_tier(const Plan& plan, Tier tier) {
  return std::any_of(plan.tiers.begin(), plan.tiers.end(), [&](const auto& one) { return one.tier == tier; });
}

// The edges between the tiers there are: none where all is in DRAM.
std::string edges_text(const RunEnd& end) {
  const auto& totals = end.totals;
  const bool has_gpu = has_tier(end.plan, Tier::kGpu), has_nvme = has_tier(end.plan, Tier::kNvme);
  if (!has_gpu && !has_nvme) return "";
  std::string text = printf_text("%-11s%12s%14s\n", "edge", "moved", "stalled");
  const auto edge = [&](const char* name, std::uint64_t bytes, double stall_ms) {
    text += printf_text("%-11s%12s%12.1f s\n", name, bytes_text(bytes).c_str(), seconds(stall_ms));
  };
  if (has_gpu) edge("H2D", totals.h2d_bytes, totals.stall_h2d_ms);
  if (has_gpu) edge("D2H", totals.d2h_bytes, totals.stall_d2h_ms);
  if (has_nvme) edge("NVMe read", totals.nvme_read_bytes, totals.stall_nvme_read_ms);
  if (has_nvme) edge("NVMe write", totals.nvme_write_bytes, totals.stall_nvme_write_ms);
  return text + "\n";
}

std::string activations_text(const RunEnd& end) {
  std::string text;
  for (const auto& tier : end.plan.tiers)
    text += (text.empty() ? "activations " : ", ") +
            bytes_text(end.totals.peak_activation_bytes[static_cast<std::size_t>(tier.tier)]) + " on " +
            std::string(tier_name(tier.tier));
  return text + (end.totals.num_warm > 0 ? " at most, after warm-up\n" : " at most\n");
}

std::string time_text(const RunEnd& end) {
  const auto& totals = end.totals;
  std::string text = printf_text("time       %.1f s: building %.1f s, forward %.1f s, backward %.1f s, update %.1f s",
                                 end.seconds, seconds(totals.build_ms), seconds(totals.forward_ms),
                                 seconds(totals.backward_ms), seconds(totals.update_ms));
  if (totals.evaluation_ms > 0) text += printf_text(", validation and samples %.1f s", seconds(totals.evaluation_ms));
  text += printf_text("\nstalled    %.1f s of it, waiting for moves\n", seconds(totals.stall_ms()));
  if (totals.num_warm > 0)
    text +=
        printf_text("step       %s on average after warm-up, %.0f tokens/s\n", ms_text(totals.mean_step_ms()).c_str(),
                    static_cast<double>(end.options.tokens_per_step()) / seconds(totals.mean_step_ms()));
  return text;
}

// A step by resource, as the simulator has it at the rates that moves had, and as it was.
std::string resources_text(const RunEnd& end) {
  if (!end.foretold) return "";
  const auto& times = end.foretold->times;
  const auto& warm = end.totals.warm;
  std::string text = printf_text("%-11s%12s%14s\n", "of a step", "foretold", "measured");
  const auto row = [&](const char* name, std::uint64_t foretold_ns, double measured_ms) {
    text += printf_text("%-11s%12s%14s\n", name, ms_text(static_cast<double>(foretold_ns) / 1e6).c_str(),
                        ms_text(measured_ms / static_cast<double>(end.totals.num_warm)).c_str());
  };
  row("processor", times.work_ns(), warm.work_ms);
  if (has_tier(end.plan, Tier::kGpu)) {
    row("H2D", times.busy(evict::Edge::kH2d), warm.busy_h2d_ms);
    row("D2H", times.busy(evict::Edge::kD2h), warm.busy_d2h_ms);
  }
  if (has_tier(end.plan, Tier::kNvme))
    row("drive", times.busy(evict::Edge::kNvmeRead) + times.busy(evict::Edge::kNvmeWrite), warm.busy_nvme_ms);
  row("stalled", times.stalled_ns(), warm.stall_ms);
  row("step", times.step_ns, warm.work_ms + warm.stall_ms);
  return text + "slowest    the " + times.slowest_resource() + "\n\n";
}

// Of fp16; a fixed scale is told, too, for what it skipped.
std::string loss_scale_text(const RunEnd& end) {
  if (!end.options.config.fp16.enabled) return "";
  const auto& totals = end.totals;
  return printf_text("loss scale %g at last; %lld of %lld steps skipped for an overflow\n", totals.loss_scale,
                     static_cast<long long>(totals.num_skipped), static_cast<long long>(totals.num_steps));
}

std::string losses_text(const RunTotals& totals, const Terminal& terminal) {
  std::string text =
      printf_text("loss       %s at first, %s at last   %s\n", loss_text(totals.first_loss).c_str(),
                  loss_text(totals.last_loss).c_str(), sparkline(totals.losses.points(), terminal.has_unicode).c_str());
  if (totals.num_validations == 0) return text;
  const auto named = [](const Validation& validation) {
    return printf_text("%s (step %lld)", loss_text(validation.loss).c_str(), static_cast<long long>(validation.step));
  };
  text += "validation " + named(totals.first_validation);
  if (totals.num_validations > 1) {
    const bool is_best = totals.best_validation.step == totals.last_validation.step;
    text += " at first, " + named(totals.last_validation) + (is_best ? " at last and best" : " at last, ") +
            (is_best ? "" : named(totals.best_validation) + " at best") + "   " +
            sparkline(totals.validation_losses.points(), terminal.has_unicode);
  }
  return text + "\n";
}

}  // namespace

std::string summary_text(const RunEnd& end, const Terminal& terminal) {
  std::string text;
  if (end.is_interrupted)
    text = printf_text("interrupted after %lld of %lld steps\n\n", static_cast<long long>(end.totals.num_steps),
                       static_cast<long long>(end.options.steps));
  text += tiers_text(end) + "\n" + edges_text(end) + resources_text(end) + time_text(end);
  if (end.totals.num_steps > 0)
    text += activations_text(end) + losses_text(end.totals, terminal) + loss_scale_text(end);
  return text;
}

}  // namespace asterias::tools
