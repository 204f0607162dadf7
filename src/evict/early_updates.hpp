// Updates that are computed before step(): as soon as a chunk's gradients are final and all that its update needs is on
// the cpu tier, into shadows (residency.hpp) that step() makes the chunk's own, or that go as if they had never been.
//
// What is gained is time for moves: state comes while backward runs, and what is new leaves meanwhile. So an update
// ahead waits for none, but what lies on the drive is brought for it, for a few chunks at once. Knows nothing of
// arithmetic: whoever updates is called with the chunk's place.
//
// Invariants
//   * Nothing shows before take(): lists, gradients and all that uses them stay as they are.
//   * take() is true only if nobody has written a list or gradient of the chunk since; the caller sees to all else that
//     the update depends on.
//   * Who needs the room of shadows gets it.
//
// Threading: engine thread only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "evict/residency.hpp"
#include "evict/update_pipeline.hpp"

namespace asterias::evict {

class EarlyUpdates {
 public:
  explicit EarlyUpdates(Residency& residency) : residency_(residency) {}
  EarlyUpdates(const EarlyUpdates&) = delete;
  EarlyUpdates& operator=(const EarlyUpdates&) = delete;
  ~EarlyUpdates() { discard_all(); }

  // The gradients of the chunk at this place are final. Its update, which uses `lists`, may be computed; empty, or on
  // the compute tier: it may not.
  void make_ready(std::size_t place, const UpdatePipeline::Lists& lists);
  bool is_pending() const { return !pending_.empty(); }

  // Calls `update(place)` for chunks that are ready and there. Its lists, and the shadows of those that it writes, are
  // pinned on the cpu tier meanwhile.
  template <class Update>
  void advance(const Update& update) {
    if (num_waits_ > 0) {
      --num_waits_;
      return;
    }
    for (std::size_t at = 0; at < std::min(pending_.size(), kMostTries);) {
      const std::size_t place = pending_[at];
      const auto outcome = residency_.try_shadow(chunks_[place].lists);
      if (outcome == Residency::Shadowing::kNoRoom) {
        num_waits_ = kMomentsWithoutRoom;
        return;
      }
      if (outcome == Residency::Shadowing::kNotThere) {
        ++at;
        continue;
      }
      stop_waiting(place);
      update(place);
      finish(place);
    }
  }

  // Makes what was computed for the chunk its own. False where nothing was, or it holds no more: the chunk is as if
  // nothing had been computed.
  bool take(std::size_t place);
  // Lets go of what was computed for the chunk.
  void discard(std::size_t place);
  void discard_all();

 private:
  static constexpr std::size_t kMostTries = 16;
  // Looking for room costs as much as a small operator: where there was none, there is none for a while.
  static constexpr int kMomentsWithoutRoom = 16;

  struct Chunk {
    UpdatePipeline::Lists lists;
    std::vector<std::uint64_t> versions;  // of lists, when it was computed
    bool is_ready = false;
    bool is_done = false;
    bool is_awaited = false;  // what lies on the drive is being brought
  };

  void await_some();
  void stop_waiting(std::size_t place);
  void finish(std::size_t place);
  bool is_unchanged(const Chunk& chunk) const;

  Residency& residency_;
  std::vector<Chunk> chunks_;         // by place
  std::vector<std::size_t> pending_;  // places that are ready and not done; those that are awaited first
  std::size_t num_awaited_ = 0;       // of these
  int num_waits_ = 0;
};

}  // namespace asterias::evict
