// What `asterias train` prints on stdout: a header, a line per step, a summary.
//
// Only prints and adds up; measures nothing but the peak resident set. The fingerprint, always the last line, is the
// command's.
//
// Threading: main thread only. Units: in the names; prints bytes as "1.37 GiB", times as ms or s.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/telemetry.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

class TrainReport {
 public:
  explicit TrainReport(const TrainOptions& options) : options_(options) {}

  // Says what is going to be trained. `num_threads` are torch's.
  void print_header(const Plan& plan, std::uint64_t data_bytes, int num_threads);

  // Prints one line for a step that took `wall_ms` in all.
  void print_step(const StepStats& stats, double wall_ms);

  // Prints the totals. Call last, so that the peak resident set covers everything.
  void print_summary(double total_seconds) const;

 private:
  struct Totals {
    std::int64_t num_steps = 0;
    std::int64_t num_warm = 0;  // steps that were foretold, and their time
    double warm_ms = 0;
    double forward_ms = 0, backward_ms = 0, update_ms = 0;
    double stall_fetch_ms = 0, stall_evict_ms = 0;
    std::uint64_t h2d_bytes = 0, d2h_bytes = 0, nvme_read_bytes = 0, nvme_write_bytes = 0;
    double first_loss = 0, last_loss = 0;
  };

  void add(const StepStats& stats, double wall_ms);
  void print_column_heads(const StepStats& stats) const;
  void print_tiers() const;

  const TrainOptions& options_;
  Totals totals_;
  std::array<TierStats, kNumTiers> tiers_;  // the peak is the run's
};

}  // namespace asterias::tools
