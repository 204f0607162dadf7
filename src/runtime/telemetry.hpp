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

namespace asterias {

struct TierStats {
  bool present = false;
  std::uint64_t used_bytes = 0;   // at the end of the step, libraries included on the cpu tier
  std::uint64_t peak_bytes = 0;   // within the step
  std::uint64_t limit_bytes = 0;  // UINT64_MAX: none
};

// One step: everything since the step before it.
struct StepStats {
  std::int64_t step = 0;    // counts from 1
  double loss = 0;          // sum of what was given to backward since the last step, NaN if nothing was
  double lr = 0;            // of the first param group
  double grad_norm = 0;     // global L2 norm before clipping; NaN unless gradient_clipping is set
  bool is_warm_up = false;  // some pass of this step was recorded, not foretold
  std::int64_t num_passes = 0;
  std::uint64_t num_operators = 0;
  double forward_ms = 0;
  double backward_ms = 0;
  double update_ms = 0;
  double stall_fetch_ms = 0;
  double stall_evict_ms = 0;
  std::array<TierStats, kNumTiers> tiers;
  std::uint64_t h2d_bytes = 0;
  std::uint64_t d2h_bytes = 0;
  std::uint64_t nvme_read_bytes = 0;
  std::uint64_t nvme_write_bytes = 0;
  std::uint64_t evictions_clean = 0;
  std::uint64_t evictions_dirty = 0;
  std::uint64_t fetches = 0;
  std::uint64_t prefetch_hits = 0;

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
  };
  std::uint64_t chunk_bytes = 0;
  std::uint64_t num_chunks = 0;        // of the param list
  std::uint64_t model_data_bytes = 0;  // all lists
  std::uint64_t num_parameters = 0;    // elements
  std::vector<TierPlan> tiers;
  // By moment of the last traced pass, on the compute tier: bytes pinned and unmovable at once. The budget for what
  // moves is the limit less this. Empty before the first pass has ended.
  std::vector<std::uint64_t> need_bytes_by_moment;
};

}  // namespace asterias
