// Updates that are computed after step(), when what they use has come, at the latest when somebody uses what they
// change.
//
// What is gained is time for moves: of one chunk they go on while the next forward works with others. Residency sees to
// it that nobody finds a chunk whose update is late (residency.hpp). Knows nothing of arithmetic: whoever updates is
// called with the chunk's place.
//
// Threading: engine thread, but for the update, which is called on the thread that needs it, or has to wait anyway.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "evict/residency.hpp"
#include "evict/update_pipeline.hpp"

namespace asterias::evict {

class LateUpdates {
 public:
  // Calls `update(place)` with the chunk's lists pinned on the cpu tier.
  LateUpdates(Residency& residency, std::function<void(std::size_t place)> update)
      : residency_(residency), update_(std::move(update)) {}
  LateUpdates(const LateUpdates&) = delete;
  LateUpdates& operator=(const LateUpdates&) = delete;
  ~LateUpdates();

  // Leaves the update of the chunk at this place, which uses `lists`, for later. False: it has to be now.
  bool put_off(std::size_t place, const UpdatePipeline::Lists& lists);
  bool is_late(std::size_t place) const { return place < chunks_.size() && chunks_[place] && chunks_[place]->is_late; }
  // Computes the first of what is late, unless something would have to be waited for.
  void advance();
  // Computes all that is late, as far as it can be. Throws the first of what Residency::catch_up does.
  void catch_up();

 private:
  struct Chunk final : LateUpdate {
    Chunk(LateUpdates& all, std::size_t place) : all(all), place(place) {}
    std::span<const Want> lists() const override { return wants; }
    void compute() noexcept override;

    LateUpdates& all;
    const std::size_t place;
    UpdatePipeline::Lists wants;
    std::atomic<bool> is_late = false;
  };

  Residency& residency_;
  const std::function<void(std::size_t place)> update_;
  std::vector<std::unique_ptr<Chunk>> chunks_;  // by place
  std::size_t first_ = 0;                       // those before have been computed
};

}  // namespace asterias::evict
