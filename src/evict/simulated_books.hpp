// What lies on each tier in a simulation, and the most that did.
//
// As Books (books.hpp) counts for Residency, without pools and pins.
//
// Threading: thread-compatible. Units: bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "evict/content_kind.hpp"
#include "evict/resident.hpp"

namespace asterias::evict {

class SimulatedBooks {
 public:
  void enter(ContentKind kind, std::uint64_t bytes, Tier tier);
  void leave(ContentKind kind, std::uint64_t bytes, Tier tier);
  // Takes in what the present operator has made, and which was unmovable until now.
  void adopt(ContentKind kind, std::uint64_t bytes, Tier tier);
  void set_unmovable(Tier tier, std::uint64_t bytes);

  std::uint64_t used_bytes(Tier tier) const { return at(tier).resident + at(tier).unmovable; }
  std::uint64_t unmovable_bytes(Tier tier) const { return at(tier).unmovable; }

  // Starts the peaks anew.
  void reset_peaks();
  void begin_operator() { ++operator_; }
  const ContentBytes& peak_content(Tier tier) const { return at(tier).peak_content; }
  std::uint64_t peak_activation_bytes(Tier tier) const { return at(tier).peak_activations; }

 private:
  struct OnTier {
    std::uint64_t resident = 0;
    std::uint64_t unmovable = 0;
    ContentBytes by_kind{};
    std::uint64_t peak = 0;
    std::uint64_t peak_operator = 0;
    ContentBytes peak_content{};
    std::uint64_t peak_activations = 0;
  };

  OnTier& at(Tier tier) { return tiers_[index_of(tier)]; }
  const OnTier& at(Tier tier) const { return tiers_[index_of(tier)]; }
  void note_peak(OnTier& on);

  std::array<OnTier, kNumTiers> tiers_{};
  std::uint64_t operator_ = 0;
};

}  // namespace asterias::evict
