#include "evict/early_updates.hpp"

namespace asterias::evict {

void EarlyUpdates::make_ready(std::size_t place, const UpdatePipeline::Lists& lists) {
  if (place >= chunks_.size()) chunks_.resize(place + 1);
  discard(place);
  if (lists.empty() || lists.tier() != Tier::kCpu) return;
  chunks_[place].lists = lists;
  chunks_[place].is_ready = true;
  pending_.push_back(place);
}

void EarlyUpdates::finish(std::size_t place) {
  Chunk& chunk = chunks_[place];
  residency_.release_shadows(chunk.lists);
  chunk.versions.clear();
  for (const Want& want : chunk.lists) chunk.versions.push_back(residency_.version(want.resident));
  chunk.is_done = true;
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
  std::erase(pending_, place);
  residency_.drop_shadows(chunks_[place].lists);
  chunks_[place].is_ready = chunks_[place].is_done = false;
}

void EarlyUpdates::discard_all() {
  for (std::size_t place = 0; place < chunks_.size(); ++place) discard(place);
}

}  // namespace asterias::evict
