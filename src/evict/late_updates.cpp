#include "evict/late_updates.hpp"

#include <exception>

namespace asterias::evict {

LateUpdates::~LateUpdates() {
  for (const auto& chunk : chunks_)
    if (chunk) residency_.give_up(*chunk);
}

bool LateUpdates::put_off(std::size_t place, const UpdatePipeline::Lists& lists) {
  if (lists.tier() != Tier::kCpu) return false;
  if (place >= chunks_.size()) chunks_.resize(place + 1);
  auto& chunk = chunks_[place];
  if (!chunk) chunk = std::make_unique<Chunk>(*this, place);
  chunk->wants = lists;
  chunk->is_late = true;  // first: another thread may have it computed at once
  first_ = 0;
  if (residency_.put_off(*chunk)) return true;
  return chunk->is_late = false;
}

void LateUpdates::Chunk::compute() noexcept {
  all.update_(place);
  is_late = false;  // now: until then its plan is in use
}

void LateUpdates::advance() {
  while (first_ < chunks_.size() && !is_late(first_)) ++first_;
  if (first_ < chunks_.size()) residency_.try_catch_up(*chunks_[first_]);
}

// Also waits for those that another thread computes.
void LateUpdates::catch_up() {
  std::exception_ptr first_failure;
  for (const auto& chunk : chunks_)
    if (chunk) try {
        residency_.catch_up(*chunk);
      } catch (...) {
        if (!first_failure) first_failure = std::current_exception();
      }
  if (first_failure) std::rethrow_exception(first_failure);
}

}  // namespace asterias::evict
