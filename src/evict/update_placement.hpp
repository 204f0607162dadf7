// Decides which chunks are updated on the compute tier and which on the cpu tier.
//
// A chunk that is updated below sends its gradient down and gets its parameters back. One that is updated above sends
// nothing while its state stays there, which takes room that the passes must leave free: the margin. Beyond the margin
// its state goes over the link both ways, which costs more bytes, and pays only where the processor that updates below
// is what everything waits for. So chunks are taken up to the margin, and then while the slowest of processor and links
// gets faster.
//
// Knows sizes, times and rates; whether lists can be pinned above when their turn comes is Residency's to see
// (begin_chunk). Results of training do not depend on it.
//
// Threading: pure functions. Units: bytes, nanoseconds, moments of the written-down passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

#include "evict/move_rates.hpp"
#include "evict/pass_script.hpp"
#include "evict/simulator.hpp"

namespace asterias::evict {

// The update of one chunk.
struct UpdateCost {
  std::uint64_t state_bytes = 0;  // what nobody but the update uses: master, moments
  std::uint64_t grad_bytes = 0;   // that go down if it is updated below
  std::uint64_t param_bytes = 0;  // that come up if it is updated below
  std::size_t grad_from = 0;      // the moment from which on the gradient waits for the update
  std::uint64_t cpu_ns = 0;       // of the processor, if it is updated below; 0: not known
  std::uint64_t gpu_ns = 0;       // of the processor, if it is updated above
};

// Returns, for each chunk in the order of the update, whether it is updated above. `margin_bytes` is what is free
// there, by moment. Of equal chunks the last are taken: their gradients are final last, so nothing is left to hide what
// they would move. Links without a rate carry nothing beyond the margin.
std::vector<bool> place_updates(std::span<const UpdateCost> chunks, std::vector<std::uint64_t> margin_bytes,
                                const MoveRates& rates);

// Numbers of chunks.
using ChunkNumbers = std::unordered_set<std::uint64_t>;

// Chooses among `chunks` those that are updated above, by what was written down of the passes; what others keep there
// stays. `costs_processor`: the same processor updates above and below, as on the simulated accelerator.
ChunkNumbers choose_updates_above(const PassScript& script, const SimulatedTiers& tiers, const ChunkNumbers& chunks,
                                  bool costs_processor);

}  // namespace asterias::evict
