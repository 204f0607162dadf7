#include "tools/run_totals.hpp"

#include <algorithm>

namespace asterias::tools {

void StepTotals::add(const StepStats& stats) {
  const double stalled_ms = stats.stall_fetch_ms + stats.stall_evict_ms;
  work_ms += stats.forward_ms + stats.backward_ms + stats.update_ms - stalled_ms;
  stall_ms += stalled_ms;
  busy_h2d_ms += stats.busy_h2d_ms;
  busy_d2h_ms += stats.busy_d2h_ms;
  busy_nvme_ms += stats.busy_nvme_ms;
  h2d_bytes += stats.h2d_bytes;
  d2h_bytes += stats.d2h_bytes;
  nvme_bytes += stats.nvme_read_bytes + stats.nvme_write_bytes;
}

void RunTotals::add(const StepStats& stats, double wall_ms) {
  if (num_steps++ == 0) first_loss = stats.loss;
  last_loss = stats.loss;
  num_skipped = stats.num_skipped;
  num_skipped_in_a_row = stats.skipped ? num_skipped_in_a_row + 1 : 0;
  loss_scale = stats.loss_scale;
  losses.add(stats.loss);
  all_ms_ += wall_ms;
  if (!stats.is_warm_up) {
    ++num_warm;
    warm_ms += wall_ms;
    warm.add(stats);
  }
  forward_ms += stats.forward_ms;
  backward_ms += stats.backward_ms;
  update_ms += stats.update_ms;
  stall_nvme_read_ms += stats.stall_nvme_read_ms;
  stall_h2d_ms += stats.stall_h2d_ms;
  stall_nvme_write_ms += stats.stall_nvme_write_ms;
  stall_d2h_ms += stats.stall_d2h_ms;
  h2d_bytes += stats.h2d_bytes;
  d2h_bytes += stats.d2h_bytes;
  nvme_read_bytes += stats.nvme_read_bytes;
  nvme_write_bytes += stats.nvme_write_bytes;
  for (std::size_t tier = 0; tier < tiers.size(); ++tier) {
    const std::uint64_t peak = std::max(tiers[tier].peak_bytes, stats.tiers[tier].peak_bytes);
    tiers[tier] = stats.tiers[tier];
    tiers[tier].peak_bytes = peak;
  }
  add_activations(stats);
}

// A pass that is not foretold lets activations leave on demand only, so what is usual shows after warm-up.
void RunTotals::add_activations(const StepStats& stats) {
  if (stats.is_warm_up && num_warm > 0) return;
  if (!stats.is_warm_up && num_warm == 1) peak_activation_bytes = {};
  for (std::size_t tier = 0; tier < tiers.size(); ++tier)
    peak_activation_bytes[tier] = std::max(peak_activation_bytes[tier], stats.tiers[tier].peak_activation_bytes);
}

void RunTotals::add(const Validation& validation) {
  if (num_validations++ == 0) first_validation = best_validation = validation;
  if (validation.loss < best_validation.loss) best_validation = validation;
  last_validation = validation;
  validation_losses.add(validation.loss);
}

double RunTotals::mean_step_ms() const {
  if (num_warm > 0) return warm_ms / static_cast<double>(num_warm);
  return num_steps > 0 ? all_ms_ / static_cast<double>(num_steps) : 0;
}

}  // namespace asterias::tools
