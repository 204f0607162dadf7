// Residency's running ahead of what is foretold: starts moves that will be wanted, and waits for none.
#include <algorithm>

#include "base/error.hpp"
#include "evict/look_ahead.hpp"
#include "evict/residency.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

}  // namespace

// Fetches what the next operators need and cleans what will have to leave, so that neither is waited for when its time
// comes.
void Residency::run_ahead() {
  if (look_ahead_ == 0 || failure_ || !timeline_.is_foretold() || !hierarchy_.has_below(hierarchy_.compute_tier()))
    return;
  finish_done();
  fetch_ahead();
  clean_ahead();
}

// What has been written can make room, what has arrived can be used.
void Residency::finish_done() {
  for (std::size_t at = 0; at < in_flight_.size();) {
    if (in_flight_[at]->move->ticket.done())
      finish_move(in_flight_[at]);  // takes it out of the list
    else
      ++at;
  }
}

void Residency::fetch_ahead() {
  const Tier tier = hierarchy_.compute_tier();
  int left = look_ahead_;
  int scanned = 0;
  timeline_.visit_upcoming([&](Moment, TraceKey key) {
    const auto found = by_key_.find(key.value());
    if (found == by_key_.end()) return ++scanned < kScannedUses;  // not born yet
    Resident* resident = found->second;
    if (resident->on(tier).is_readable() || resident->blank) return ++scanned < kScannedUses;
    if (!resident->move && !try_prefetch(resident, tier)) return false;
    return --left > 0;
  });
}

// Keeps as much room free or free to take as the next fetches will want.
void Residency::clean_ahead() {
  const Tier tier = hierarchy_.compute_tier();
  const std::uint64_t reserve = static_cast<std::uint64_t>(look_ahead_) * needs_.largest_resident;
  const std::uint64_t shortfall = hierarchy_.pool(tier).shortfall(reserve);
  if (shortfall == 0) return;
  std::uint64_t freeable = 0;
  for (const Resident* resident : in_flight_)
    if (resident->move->from == tier) freeable += resident->bytes;
  if (freeable >= shortfall) return;
  auto& candidates = candidates_[index_of(tier)];
  collect_candidates(tier, candidates);
  policy_->rank(candidates);
  for (const Candidate& candidate : candidates) {
    if (freeable >= shortfall || candidate.next_use < timeline_.now() + kNearMoments) return;
    if (candidate.next_use == kNever && !candidate.clean) continue;  // about to die: writing it would be for nothing
    if (!candidate.clean && !start_write_behind(residents_[candidate.index].get(), tier)) return;
    freeable += candidate.bytes;
  }
}

// Starts moving the resident one tier up towards `tier`. False when that takes more than dropping clean copies.
bool Residency::try_prefetch(Resident* resident, Tier tier) {
  if (resident->blank || resident->move || resident->on(tier).state != CopyState::kAbsent ||
      !hierarchy_.has_below(tier))
    return false;
  const Tier below = hierarchy_.below(tier);
  if (!resident->on(below).is_readable()) return try_prefetch(resident, below);
  if (!drop_clean_for(resident->bytes, tier, timeline_.next_use(resident->key, resident->update_index))) return false;
  try {
    start_fetch(resident, below, tier);
  } catch (const OutOfMemory&) {  // somebody else took the room
    return false;
  }
  resident->ahead = true;
  return true;
}

// Drops clean copies that are used later than `used_at` until `bytes` fit; nothing if that is not enough.
bool Residency::drop_clean_for(std::uint64_t bytes, Tier tier, Moment used_at) {
  const std::uint64_t shortfall = hierarchy_.pool(tier).shortfall(bytes);
  if (shortfall == 0) return true;
  auto& candidates = candidates_[index_of(tier)];
  collect_candidates(tier, candidates);
  std::erase_if(candidates,
                [&](const Candidate& candidate) { return !candidate.clean || candidate.next_use <= used_at; });
  std::uint64_t freeable = 0;
  for (const Candidate& candidate : candidates) freeable += candidate.bytes;
  if (freeable < shortfall) return false;
  policy_->rank(candidates);
  std::uint64_t freed = 0;
  for (const Candidate& candidate : candidates) {
    if (freed >= shortfall) break;
    freed += candidate.bytes;
    drop(residents_[candidate.index].get(), tier);
    ++stats_.evictions_clean;
  }
  return true;
}

// Starts writing a dirty copy one tier down; it stays. False when there is no room below, or nothing to write.
bool Residency::start_write_behind(Resident* resident, Tier tier) {
  if (resident->move || resident->blank || resident->on(tier).state != CopyState::kCurrent) return false;
  if (resident->is_pinned() || is_redundant(resident, tier) || !hierarchy_.has_below(tier)) return false;
  const Tier below = hierarchy_.below(tier);
  Copy& target = resident->on(below);
  if (below == Tier::kNvme) {
    try {
      if (auto extents = try_take_extents(resident->bytes)) target.extents = std::move(*extents);
    } catch (const IoError&) {  // failure() keeps it
    }
  } else if (auto block = hierarchy_.pool(below).try_take(resident->bytes)) {
    target.block = std::move(*block);
  }
  if (!target.block && !target.extents) return false;
  start_move_down(resident, tier, /*leaves=*/false);
  return true;
}

}  // namespace asterias::evict
