// What the steps of a run add up to.
//
// Threading: thread-compatible. Units: in the names.
#pragma once

#include <array>
#include <cstdint>

#include "runtime/telemetry.hpp"
#include "tools/sparkline.hpp"

namespace asterias::tools {

struct Validation {
  std::int64_t step = 0;
  double loss = 0;
};

// What steps were made of.
struct StepTotals {
  double work_ms = 0;  // in the phases, waiting left out
  double stall_ms = 0;
  double busy_h2d_ms = 0, busy_d2h_ms = 0, busy_nvme_ms = 0;
  std::uint64_t h2d_bytes = 0, d2h_bytes = 0, nvme_bytes = 0;

  void add(const StepStats& stats);
};

struct RunTotals {
  std::int64_t num_steps = 0;
  std::int64_t num_skipped = 0;           // for an overflow in fp16
  std::int64_t num_skipped_in_a_row = 0;  // up to the last step
  double loss_scale = 1;                  // of the last step
  std::int64_t num_warm = 0;              // steps that were foretold, and their time
  double warm_ms = 0;
  StepTotals warm;      // of these steps
  double build_ms = 0;  // until the model was ready
  double forward_ms = 0, backward_ms = 0, update_ms = 0;
  double evaluation_ms = 0;  // validations and samples
  double stall_nvme_read_ms = 0, stall_h2d_ms = 0, stall_nvme_write_ms = 0, stall_d2h_ms = 0;
  std::uint64_t h2d_bytes = 0, d2h_bytes = 0, nvme_read_bytes = 0, nvme_write_bytes = 0;
  std::array<TierStats, kNumTiers> tiers;                        // as after the last step, but peak_bytes is the run's
  std::array<std::uint64_t, kNumTiers> peak_activation_bytes{};  // after warm-up; of all steps while there is none
  double first_loss = 0, last_loss = 0;
  Curve losses;
  std::int64_t num_validations = 0;
  Validation first_validation, best_validation, last_validation;
  Curve validation_losses;

  // Adds a step that took `wall_ms`, without validations and samples.
  void add(const StepStats& stats, double wall_ms);
  void add(const Validation& validation);

  // Of a step: the mean of those after warm-up, of all while there is none. 0 before the first.
  double mean_step_ms() const;
  double stall_ms() const { return stall_nvme_read_ms + stall_h2d_ms + stall_nvme_write_ms + stall_d2h_ms; }

 private:
  void add_activations(const StepStats& stats);

  double all_ms_ = 0;
};

}  // namespace asterias::tools
