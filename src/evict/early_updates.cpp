#include "evict/early_updates.hpp"

#include <utility>

namespace asterias::evict {

void EarlyUpdates::make_ready(std::size_t place, const UpdatePipeline::Lists& lists) {
  if (place >= chunks_.size()) chunks_.resize(place + 1);
  discard(place);
  if (lists.empty() || lists.tier() != Tier::kCpu) return;
  chunks_[place].lists = lists;
  chunks_[place].is_ready = true;
  pending_.push_back(place);
  await_some();
}

// What step() would update first: where moves are slower than backward, it finds the rest of the work in its own order.
void EarlyUpdates::await_some() {
  if (!residency_.hierarchy().has_below(Tier::kCpu)) return;
  for (std::size_t place = 0; place < chunks_.size() && num_awaited_ < residency_.look_ahead(); ++place) {
    Chunk& chunk = chunks_[place];
    const bool is_waiting = chunk.is_ready && !chunk.is_done && !chunk.is_awaited;
    if (!is_waiting || !residency_.await_for_shadows(chunk.lists)) continue;
    chunk.is_awaited = true;
    const auto at = std::find(pending_.begin(), pending_.end(), place);
    std::rotate(pending_.begin() + static_cast<std::ptrdiff_t>(num_awaited_++), at, at + 1);
  }
}

void EarlyUpdates::stop_waiting(std::size_t place) {
  std::erase(pending_, place);
  num_awaited_ -= std::exchange(chunks_[place].is_awaited, false);
}

void EarlyUpdates::finish(std::size_t place) {
  Chunk& chunk = chunks_[place];
  residency_.release_shadows(chunk.lists);
  chunk.versions.clear();
  for (const Want& want : chunk.lists) chunk.versions.push_back(residency_.version(want.resident));
  chunk.is_done = true;
  await_some();
}

bool EarlyUpdates::is_unchanged(const Chunk& chunk) const {
  return std::equal(
      chunk.lists.begin(), chunk.lists.end(), chunk.versions.begin(), chunk.versions.end(),
      [&](const Want& want, std::uint64_t version) { return residency_.version(want.resident) == version; });
}

bool EarlyUpdates::take(std::size_t place) {
  if (place >= chunks_.size() || !chunks_[place].is_done) return false;
  Chunk& chunk = chunks_[place];
  const bool holds = is_unchanged(chunk) && residency_.take_shadows(chunk.lists);
  if (!holds) discard(place);
  chunk.is_ready = chunk.is_done = false;
  return holds;
}

void EarlyUpdates::discard(std::size_t place) {
  if (place >= chunks_.size() || !chunks_[place].is_ready) return;
  stop_waiting(place);
  residency_.drop_shadows(chunks_[place].lists);
  chunks_[place].is_ready = chunks_[place].is_done = false;
}

void EarlyUpdates::discard_all() {
  for (std::size_t place = 0; place < chunks_.size(); ++place) discard(place);
}

}  // namespace asterias::evict
