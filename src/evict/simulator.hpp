// Foretells what a later step will hold, move and take, by playing the measured passes and the update that follows them
// through the eviction policy, with a clock.
//
// It runs a Residency of its own on tiers without bytes (hollow_tiers.hpp) and does with it what was done with the real
// one: one thread works, moves overlap with it at declared rates, and it waits where Residency waits. Knows nothing of
// other work on the machine, nor of copies that take processor time from the operators. Without rates every move is
// instant: peaks and bytes then say what the policy keeps, and the step takes what is computed.
//
// Called by Residency, which has the script and the tiers, and by bench/replay, which reads them from a file.
//
// Threading: a pure function. Units: bytes, nanoseconds.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "evict/content_kind.hpp"
#include "evict/edge.hpp"
#include "evict/eviction_policy.hpp"
#include "evict/move_rates.hpp"
#include "evict/pass_script.hpp"

namespace asterias::evict {

// The tiers, and how fast things are on and between them.
struct SimulatedTiers {
  std::vector<Tier> levels;                     // fastest first
  std::array<std::uint64_t, kNumTiers> room{};  // what blocks may take; UINT64_MAX: no limit
  std::uint64_t library_bytes = 0;              // on the cpu tier, beside the room
  std::uint64_t look_ahead = 0;                 // residents fetched ahead, for which room is kept clean
  bool offloads = false;                        // activations leave the compute tier when none will use them soon
  bool puts_off_updates = false;                // until the chunk is used, see late_updates.hpp
  MoveRates rates{};
  double update_params_per_second = 0;  // for chunks whose update was not measured; 0: it takes no time
};

// One step: `work` is the computing thread's, `busy` an edge's; what is waited for is told by the edge of the move.
struct StepTimes {
  std::uint64_t step_ns = 0;
  std::uint64_t update_ns = 0;  // of it, from the end of the last pass on
  std::uint64_t pass_work_ns = 0;
  std::uint64_t update_work_ns = 0;
  std::array<std::uint64_t, kNumEdges> busy_ns{};
  std::array<std::uint64_t, kNumEdges> stall_ns{};
  bool drive_is_shared = true;  // its reads and writes are one resource

  std::uint64_t work_ns() const { return pass_work_ns + update_work_ns; }
  std::uint64_t busy(Edge edge) const { return busy_ns[static_cast<std::size_t>(edge)]; }
  std::uint64_t stalled(Edge edge) const { return stall_ns[static_cast<std::size_t>(edge)]; }
  std::uint64_t stalled_ns() const;

  // The time of the busiest resource, which no step can be shorter than, and what it is called.
  std::uint64_t slowest_ns() const;
  const char* slowest_resource() const;
};

struct Simulation {
  std::array<ContentBytes, kNumTiers> peak_content{};            // sums to the tier's peak, libraries included
  std::array<std::uint64_t, kNumTiers> peak_activation_bytes{};  // the most activations at once, whatever lay there
  std::uint64_t most_shadow_bytes = 0;                           // of updates ahead of step(), at once
  std::array<std::uint64_t, kNumEdges> moved_bytes{};            // in one step, by Edge
  ContentBytes content{};                                        // all chunks, and the most of everything else at once
  StepTimes times;

  std::uint64_t moved(Edge edge) const { return moved_bytes[static_cast<std::size_t>(edge)]; }
};

// Plays several steps and reports the last one, and the most that lay anywhere in any but the first two.
Simulation simulate(const PassScript& script, const SimulatedTiers& tiers,
                    std::shared_ptr<const EvictionPolicy> policy);

}  // namespace asterias::evict
