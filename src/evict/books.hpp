// Counts what lies on each tier by kind, what is pinned there, and remembers the content of the tier's fullest moment.
//
// Residency tells it of every copy that comes or goes; how much the tier holds in all, its pool or swap space knows.
// Not a limit and not a policy. Counters only: nothing here allocates.
//
// Invariants
//   * resident_bytes(tier) is the sum of the copies that are there, arriving and leaving ones included.
//   * content(tier) sums to what the tier holds, libraries included on the cpu tier.
//
// Threading: thread-compatible; Residency's lock covers it.
// Units: bytes.
#pragma once

#include <array>
#include <cstdint>

#include "chunk/hierarchy.hpp"
#include "evict/content_kind.hpp"
#include "evict/resident.hpp"

namespace asterias::evict {

class Books {
 public:
  // `hierarchy` outlives the books.
  explicit Books(const chunk::Hierarchy& hierarchy) : hierarchy_(hierarchy) {}

  // A copy of the resident takes its bytes on `tier`, or has given them back. `enter` comes after the bytes were taken.
  void enter(const Resident& resident, Tier tier);
  void leave(const Resident& resident, Tier tier);
  // Its bytes there were an activation's, and are a gradient's.
  void count_as_gradient(const Resident& resident, Tier tier);
  void pin(const Resident& resident, Tier tier) { pinned_[index_of(tier)] += resident.bytes; }
  void unpin(const Resident& resident, Tier tier) { pinned_[index_of(tier)] -= resident.bytes; }
  // Notes that a tier may hold more than ever: after bytes were taken there.
  void note_peak(Tier tier);
  // Says that the next operator begins: what it takes is in the making until it is adopted.
  void begin_operator() { ++operator_; }
  // A block that was taken before becomes a resident, which `enter` is told of as well.
  void adopt(const Resident& resident, Tier tier);

  std::uint64_t resident_bytes(Tier tier) const { return resident_[index_of(tier)]; }
  std::uint64_t pinned_bytes(Tier tier) const { return pinned_[index_of(tier)]; }
  // What cannot move. REQUIRES: a memory tier.
  std::uint64_t unmovable_bytes(Tier tier) const;

  ContentBytes content(Tier tier) const;
  // What lay there when the tier held most since reset_peak; sums to the tier's own figure of that.
  ContentBytes peak_content(Tier tier);
  // The most activations at once since reset_peak, whatever else lay there.
  std::uint64_t peak_activation_bytes(Tier tier) const { return peak_activations_[index_of(tier)]; }
  void reset_peak(Tier tier);

 private:
  struct Peak {
    std::uint64_t held_bytes = 0;
    std::uint64_t in_operator = 0;
    ContentBytes content{};
  };

  std::uint64_t activation_bytes(Tier tier) const;
  std::uint64_t held_bytes(Tier tier) const;
  std::uint64_t peak_held_bytes(Tier tier) const;

  const chunk::Hierarchy& hierarchy_;
  std::array<ContentBytes, kNumTiers> by_kind_{};  // of residents
  std::array<std::uint64_t, kNumTiers> resident_{};
  std::array<std::uint64_t, kNumTiers> pinned_{};
  std::array<Peak, kNumTiers> peaks_;
  std::array<std::uint64_t, kNumTiers> peak_activations_{};
  std::uint64_t operator_ = 0;
};

}  // namespace asterias::evict
