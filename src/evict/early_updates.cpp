#include "evict/early_updates.hpp"

namespace asterias::evict {

void EarlyUpdates::make_ready(std::size_t place, const UpdatePipeline::Lists& lists) {
  if (num_ordered_ == 0 && std::find(order_.begin(), order_.end(), place) == order_.end()) order_.push_back(place);
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

const std::vector<std::size_t>& EarlyUpdates::order(std::size_t count) {
  if (num_ordered_ == count) return order_;
  std::erase_if(order_, [&](std::size_t place) { return place >= count; });
  for (std::size_t place = 0; place < count; ++place)
    if (std::find(order_.begin(), order_.end(), place) == order_.end()) order_.push_back(place);
  num_ordered_ = count;
  return order_;
}

}  // namespace asterias::evict
