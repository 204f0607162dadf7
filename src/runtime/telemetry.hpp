// What a step did and what a plan says, in plain numbers. Units are in the names.
//
// Threading: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/tier.hpp"
#include "evict/content_kind.hpp"
#include "evict/recorded_step.hpp"
#include "evict/step_trace.hpp"

namespace asterias {

using evict::content_kind_name;
using evict::ContentBytes;
using evict::ContentKind;
using evict::kNumContentKinds;
using evict::MoveRates;
using evict::RecordedStep;
using evict::Simulation;
using evict::StepTrace;

struct TierStats {
  bool present = false;
  std::uint64_t used_bytes = 0;             // at the end of the step, libraries included on the cpu tier
  std::uint64_t peak_bytes = 0;             // within the step
  std::uint64_t limit_bytes = 0;            // UINT64_MAX: none
  ContentBytes bytes_by_kind{};             // at the end of the step; sums to used_bytes
  ContentBytes peak_by_kind{};              // when the tier held most; sums to peak_bytes
  std::uint64_t peak_activation_bytes = 0;  // the most activations at once within the step, whatever else lay there
};

// One step: everything since the step before it.
struct StepStats {
  std::int64_t step = 0;    // counts from 1
  double loss = 0;          // sum of what was given to backward since the last step, NaN if nothing was
  double lr = 0;            // of the first param group
  double grad_norm = 0;     // global L2 norm, unscaled, before clipping; NaN unless gradient_clipping or fp16 is set
  bool is_warm_up = false;  // some pass of this step was recorded, not foretold
  double loss_scale = 1;    // of this step's backward; 1 unless fp16 is set
  bool skipped = false;     // fp16: a gradient overflowed, so the update was not done
  std::int64_t num_skipped = 0;  // so far
  std::int64_t num_passes = 0;
  std::uint64_t num_operators = 0;
  double wall_ms = 0;  // since the end of the step before, or since the engine was made
  double forward_ms = 0;
  double backward_ms = 0;
  double update_ms = 0;
  // Time spent waiting for the end of a move, by the edge it went over.
  double stall_nvme_read_ms = 0;
  double stall_h2d_ms = 0;
  double stall_nvme_write_ms = 0;
  double stall_d2h_ms = 0;
  // The same time by the phase that waited.
  double stall_forward_ms = 0;
  double stall_backward_ms = 0;
  double stall_update_ms = 0;  // what is in neither
  double stall_fetch_ms = 0;   // for bytes to arrive: NVMe reads and H2D
  double stall_evict_ms = 0;   // for bytes to leave: NVMe writes and D2H
  // Time that moves were on their way, waited for or not; what overlaps counts once.
  double busy_h2d_ms = 0;
  double busy_d2h_ms = 0;
  double busy_nvme_ms = 0;  // reads and writes
  std::array<TierStats, kNumTiers> tiers;
  std::uint64_t h2d_bytes = 0;
  std::uint64_t d2h_bytes = 0;
  std::uint64_t nvme_read_bytes = 0;
  std::uint64_t nvme_write_bytes = 0;
  std::uint64_t evictions_clean = 0;
  std::uint64_t evictions_dirty = 0;
  std::uint64_t fetches = 0;
  std::uint64_t prefetch_hits = 0;
  std::uint64_t early_updates = 0;   // chunks whose update had been computed before step()
  std::uint64_t late_updates = 0;    // chunks whose update had not been computed when step() returned
  std::uint64_t updates_on_gpu = 0;  // chunks that were updated on the accelerator

  // Writes the fields as one line of JSON.
  std::string to_json() const;
};

// Names the instruction set that the optimizer update runs on here: "avx512", "avx2" or "portable".
std::string update_simd_target();

// Where things lie and what they need at least.
struct Plan {
  struct TierPlan {
    Tier tier;
    std::uint64_t limit_bytes;        // UINT64_MAX: none
    std::uint64_t working_set_bytes;  // the most that was pinned and unmovable at once
    std::string working_set_at;       // the operator or phase that needed it
    std::uint64_t smallest_bytes;     // the smallest sufficient limit with the others as given, rounded up to a MiB
    // The most that the tier will hold in a later step, libraries included on the cpu tier, and what that is. Computed
    // from the traced passes, not taken from the counters. 0 before the first pass has ended.
    std::uint64_t predicted_peak_bytes = 0;
    ContentBytes predicted_by_kind{};              // sums to predicted_peak_bytes
    std::uint64_t predicted_activation_bytes = 0;  // the most activations at once, computed likewise
  };
  std::uint64_t chunk_bytes = 0;
  std::uint64_t num_chunks = 0;         // of the param list
  std::uint64_t model_data_bytes = 0;   // all lists
  std::uint64_t reused_bytes = 0;       // that gradients would take more if they did not take their parameters' places
  std::uint64_t state_saved_bytes = 0;  // what these would be more if optimizer state were fp32
  std::uint64_t num_parameters = 0;     // elements
  // Of the chunks that are updated: on the accelerator, and their masters and moments. The rest is updated on the CPU.
  // 0 before the first pass has ended.
  std::uint64_t num_gpu_updates = 0;
  std::uint64_t gpu_state_bytes = 0;
  std::uint64_t num_cpu_updates = 0;
  std::vector<TierPlan> tiers;
  // By moment of the last traced pass, on the compute tier: bytes pinned and unmovable at once. The budget for what
  // moves is the limit less this. Empty before the first pass has ended.
  std::vector<std::uint64_t> need_bytes_by_moment;
  bool is_measured = false;        // a pass has been traced
  ContentBytes content_by_kind{};  // all model data, and the most activations, unmovable bytes and libraries at once
  // What a later step will move, computed as the peaks are. 0 before the first pass has ended.
  std::uint64_t predicted_h2d_bytes = 0;
  std::uint64_t predicted_d2h_bytes = 0;
  std::uint64_t predicted_nvme_read_bytes = 0;
  std::uint64_t predicted_nvme_write_bytes = 0;

  // Writes the fields as one JSON object.
  std::string to_json() const;
};

}  // namespace asterias
