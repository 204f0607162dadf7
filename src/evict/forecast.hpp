// Foretells what a later step will hold and move, by replaying the measured passes and the update that follows them
// through the eviction policy.
//
// A small model of Residency: every move takes no time. Where moves race with the computation the real figures differ.
// Knows nothing of what was counted.
//
// Threading: a pure function. Units: bytes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "evict/content_kind.hpp"
#include "evict/edge.hpp"
#include "evict/eviction_policy.hpp"
#include "evict/pass_script.hpp"

namespace asterias::evict {

// The tiers as the replay sees them.
struct ForecastTiers {
  std::vector<Tier> levels;                     // fastest first
  std::array<std::uint64_t, kNumTiers> room{};  // what blocks may take; UINT64_MAX: no limit
  std::uint64_t library_bytes = 0;              // on the cpu tier, beside the room
  std::uint64_t look_ahead = 0;                 // residents fetched ahead, for which room is kept clean
  bool offloads = false;                        // activations leave the compute tier when none will use them soon
};

struct Forecast {
  std::array<ContentBytes, kNumTiers> peak_content{};            // sums to the tier's peak, libraries included
  std::array<std::uint64_t, kNumTiers> peak_activation_bytes{};  // the most activations at once, whatever lay there
  std::array<std::uint64_t, kNumEdges> moved_bytes{};            // in one step, by Edge
  ContentBytes content{};                                        // all chunks, and the most of everything else at once
};

// Replays until steps repeat (a few) and reports the last one.
Forecast forecast(const PassScript& script, const ForecastTiers& tiers, const EvictionPolicy& policy);

}  // namespace asterias::evict
