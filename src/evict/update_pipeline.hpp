// The update's way through the chunks: each one's lists are brought to the tier where it is updated and stay pinned
// there meanwhile. What the next ones need comes at the same time, and what was changed goes down where its room will
// be wanted: an update is foretold and run ahead of as a pass is (timeline.hpp).
//
// Knows nothing of arithmetic, nor of where a chunk should be updated (update_placement.hpp): whoever updates is called
// with the chunk's place. The optimizer runs it on the real tiers, the simulator on hollow ones.
//
// Threading: engine thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

#include "evict/residency.hpp"

namespace asterias::evict {

class UpdatePipeline {
 public:
  // What the update of one chunk uses, at most one list of each kind, and where; empty: it is not updated now.
  class Lists {
   public:
    Lists() = default;
    Lists(std::initializer_list<Want> wants) {
      for (const Want& want : wants) push_back(want);
    }
    void push_back(const Want& want) { wants_.at(size_++) = want; }
    bool empty() const { return size_ == 0; }
    // Where it is to be updated: the cpu tier, if nothing else is said.
    Tier tier() const { return tier_; }
    void set_tier(Tier tier) { tier_ = tier; }
    Want* begin() { return wants_.data(); }
    Want* end() { return wants_.data() + size_; }
    const Want* begin() const { return wants_.data(); }
    const Want* end() const { return wants_.data() + size_; }
    operator std::span<const Want>() const { return {begin(), size_}; }

   private:
    std::array<Want, chunk::kNumListKinds> wants_{};
    std::size_t size_ = 0;
    Tier tier_ = Tier::kCpu;
  };

  // `signature` names who updates.
  UpdatePipeline(Residency& residency, std::uint64_t signature) : residency_(residency), signature_(signature) {}

  // Calls `update(place, tier)` for each chunk, in their order, which is that of the model: what the next forward uses
  // first is there first. Its lists are pinned on that tier meanwhile: the one they name, or the cpu tier where that
  // has no room for them. Not for those that `take(place)` says have been updated ahead (early_updates.hpp). Throws
  // what acquire and `update` do, with nothing pinned.
  template <class Take, class Update>
  void run(const std::vector<Lists>& chunks, const Take& take, const Update& update) {
    residency_.begin_update(signature_);
    for (std::size_t place = 0; place < chunks.size(); ++place) {
      if (chunks[place].empty()) continue;
      if (take(place)) {
        residency_.pass_chunk(static_cast<std::uint32_t>(place), chunks[place], chunks[place].tier());
        continue;
      }
      const Pinned lists(residency_, static_cast<std::uint32_t>(place), chunks[place]);
      update(place, lists.tier());
    }
    residency_.end_update();
  }

 private:
  // A chunk while it is updated.
  class Pinned {
   public:
    Pinned(Residency& residency, std::uint32_t place, const Lists& lists)
        : residency_(residency), lists_(lists), tier_(residency.begin_chunk(place, lists, lists.tier())) {}
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    ~Pinned() { residency_.end_chunk(lists_, tier_); }

    Tier tier() const { return tier_; }

   private:
    Residency& residency_;
    const Lists& lists_;
    const Tier tier_;
  };

  Residency& residency_;
  const std::uint64_t signature_;
};

}  // namespace asterias::evict
