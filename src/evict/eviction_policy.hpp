// Orders what may leave a tier by how soon it should.
//
// A policy decides *which* residents go; it never moves one. Residency collects those that may legally leave, has the
// policy order them, and evicts from the front until the caller's request fits. All a policy knows is in the candidate,
// so a recorded trace can be replayed through any policy, and pins, transfers and locks stay out of every policy.
//
// Invariants
//   * rank() only reorders its argument, so it cannot name a pinned or absent resident.
//   * Same candidates => same order; ties break by id. A failing step can be replayed.
//   * No device call, no I/O, no blocking: rank() runs while an operator waits for room.
//
// Threading: immutable. Units: bytes, and Moments, never seconds.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "evict/timeline.hpp"

namespace asterias::evict {

// What may leave a tier right now: current there, unpinned, no move in flight.
struct Candidate {
  std::uint64_t id;        // of the resident; younger ones have larger ids
  std::uint32_t index;     // Residency's own
  bool clean;              // another current copy exists, so leaving moves nothing
  std::uint64_t bytes;     // room its departure frees
  std::uint64_t last_use;  // a count, larger is later
  Moment next_use;         // kNever when nothing is foretold
  std::uint64_t arrival;   // on the tier, counted as uses are
};

class EvictionPolicy {
 public:
  EvictionPolicy() = default;
  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;
  virtual ~EvictionPolicy() = default;

  // The word for it in the configuration.
  virtual std::string_view name() const = 0;

  // Reorders `candidates`: the front leaves first. O(n log n); does not allocate.
  virtual void rank(std::span<Candidate> candidates) const = 0;
};

// Longest unused first.
std::unique_ptr<EvictionPolicy> make_lru_policy();

// Longest on the tier first, used or not: PatrickStar's order.
std::unique_ptr<EvictionPolicy> make_fifo_policy();

// Always the same order, that of making, so that what fits keeps its place for the whole run and the rest passes
// through what is left: a fixed partition, as DeepSpeed's. Chunks go before activations, which are younger.
std::unique_ptr<EvictionPolicy> make_static_policy();

// Furthest next use first (Belady 1966), clean before dirty at equal distance; what is never used again counts as
// furthest. Among equals it is LRU: where nothing is foretold, that is the order within the clean and within the dirty.
std::unique_ptr<EvictionPolicy> make_next_use_policy();

// The policy of that name; null if there is none.
std::unique_ptr<EvictionPolicy> make_policy(std::string_view name);
std::vector<std::string_view> policy_names();

}  // namespace asterias::evict
