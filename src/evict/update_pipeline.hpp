// The update's way through the chunks: each one's lists are brought to the cpu tier and stay pinned there while they
// are updated. What the next ones need comes meanwhile, and what was changed goes down where its room will be wanted:
// an update is foretold and run ahead of as a pass is (timeline.hpp).
//
// Knows nothing of arithmetic: whoever updates is called with the chunk's place. The optimizer runs it on the real
// tiers, the simulator on hollow ones.
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
  // What the update of one chunk uses, at most one list of each kind; empty: it is not updated now.
  class Lists {
   public:
    Lists() = default;
    Lists(std::initializer_list<Want> wants) {
      for (const Want& want : wants) push_back(want);
    }
    void push_back(const Want& want) { wants_.at(size_++) = want; }
    bool empty() const { return size_ == 0; }
    Want* begin() { return wants_.data(); }
    Want* end() { return wants_.data() + size_; }
    const Want* begin() const { return wants_.data(); }
    const Want* end() const { return wants_.data() + size_; }
    operator std::span<const Want>() const { return {begin(), size_}; }

   private:
    std::array<Want, chunk::kNumListKinds> wants_{};
    std::size_t size_ = 0;
  };

  // `signature` names who updates.
  UpdatePipeline(Residency& residency, std::uint64_t signature) : residency_(residency), signature_(signature) {}

  // Calls `update(place)` for each chunk, in their order, which is that of the model: what the next forward uses first
  // is there first. Its lists are pinned on the cpu tier meanwhile. Not for those that `take(place)` says have been
  // updated ahead (early_updates.hpp). Throws what acquire does. REQUIRES: `update` does not throw.
  template <class Take, class Update>
  void run(const std::vector<Lists>& chunks, const Take& take, const Update& update) {
    residency_.begin_update(signature_);
    for (std::size_t place = 0; place < chunks.size(); ++place) {
      if (chunks[place].empty()) continue;
      if (take(place)) {
        residency_.pass_chunk(static_cast<std::uint32_t>(place));
        continue;
      }
      residency_.begin_chunk(static_cast<std::uint32_t>(place));
      residency_.acquire(chunks[place], Tier::kCpu);
      update(place);
      residency_.end_chunk(chunks[place]);
    }
    residency_.end_update();
  }

 private:
  Residency& residency_;
  const std::uint64_t signature_;
};

}  // namespace asterias::evict
