// Running ahead in a simulation, as residency_ahead.cpp does it: starts moves that will be wanted, and waits for none.
#include <algorithm>

#include "evict/look_ahead.hpp"
#include "evict/simulated_residency.hpp"

namespace asterias::evict {

void SimulatedResidency::run_ahead() {
  if (tiers_.look_ahead == 0 || !has_below(compute_tier())) return;
  finish_done();
  fetch_ahead();
  clean_ahead();
}

void SimulatedResidency::finish_done() {
  for (std::size_t at = 0; at < in_flight_.size();) {
    if (in_flight_[at]->move->end_ns <= now_ns_)
      finish_move(*in_flight_[at]);  // takes it out of the list
    else
      ++at;
  }
}

void SimulatedResidency::fetch_ahead() {
  const Tier tier = compute_tier();
  skip_past();
  std::uint64_t left = tiers_.look_ahead;
  int scanned = 0;
  for (std::size_t at = upcoming_; at < schedule_.size() && left > 0 && scanned < kScannedUses; ++at) {
    SimulatedActor& actor = actors_[schedule_[at].second];
    if (actor.is_readable(tier) || actor.blank || !(actor.is_chunk() || actor.alive)) {
      ++scanned;
      continue;
    }
    if (!actor.move && !try_prefetch(actor, tier)) return;
    --left;
  }
}

// Keeps as much room free or free to take as the next fetches will want.
void SimulatedResidency::clean_ahead() {
  const Tier tier = compute_tier();
  const std::uint64_t lacking = shortfall(tier, tiers_.look_ahead * largest_bytes_);
  if (lacking == 0) return;
  std::uint64_t freeable = 0;
  for (const auto* actor : in_flight_)
    if (actor->move->from == tier) freeable += actor->script->bytes;
  if (freeable >= lacking) return;
  for (const Candidate& candidate : ranked(tier)) {
    if (freeable >= lacking || candidate.next_use < now_ + kNearMoments) return;
    if (candidate.next_use == kNever && !candidate.clean) continue;
    if (!candidate.clean && !start_write_behind(actors_[candidate.index], tier)) return;
    freeable += candidate.bytes;
  }
}

// Starts moving the actor one tier up towards `tier`. False when that takes more than dropping clean copies.
bool SimulatedResidency::try_prefetch(SimulatedActor& actor, Tier tier) {
  if (actor.blank || actor.move || !actor.is_absent(tier) || !has_below(tier)) return false;
  const Tier source = below(tier);
  if (!actor.is_readable(source)) return try_prefetch(actor, source);
  if (!drop_clean_for(actor.script->bytes, tier, next_use(actor))) return false;
  start_move(actor, source, tier, /*leaves=*/false);
  return true;
}

bool SimulatedResidency::drop_clean_for(std::uint64_t bytes, Tier tier, Moment used_at) {
  const std::uint64_t lacking = shortfall(tier, bytes);
  if (lacking == 0) return true;
  auto candidates = ranked(tier);
  std::erase_if(candidates, [&](const auto& each) { return !each.clean || each.next_use <= used_at; });
  std::uint64_t freeable = 0;
  for (const Candidate& candidate : candidates) freeable += candidate.bytes;
  if (freeable < lacking) return false;
  for (const Candidate& candidate : candidates) {
    if (shortfall(tier, bytes) == 0) break;
    drop(actors_[candidate.index], tier);
  }
  return true;
}

// Starts writing a dirty copy one tier down; it stays.
bool SimulatedResidency::start_write_behind(SimulatedActor& actor, Tier tier) {
  if (actor.move || actor.blank || !actor.is_current(tier)) return false;
  if (is_redundant(actor, tier) || !has_below(tier)) return false;
  if (shortfall(below(tier), actor.script->bytes) > 0) return false;
  start_move(actor, tier, below(tier), /*leaves=*/false);
  return true;
}

// As Residency::offload_used has it: no more than the next fetches would is let go at once.
void SimulatedResidency::offload_used() {
  const Tier tier = compute_tier();
  for (SimulatedActor* actor : std::exchange(used_, {})) {
    const Moment next = next_use(*actor);
    if (!tiers_.offloads || !has_below(tier) || next == kNever || next <= moment_of_upcoming(kScannedUses)) continue;
    depart(*actor, tier);
  }
  while (tiers_.offloads && leaving_bytes(tier) > tiers_.look_ahead * largest_bytes_)
    finish_move(**std::find_if(in_flight_.begin(), in_flight_.end(),
                               [&](const auto* actor) { return actor->move->from == tier && actor->move->leaves; }));
}

Moment SimulatedResidency::moment_of_upcoming(std::size_t count) {
  skip_past();
  return upcoming_ + count > schedule_.size() ? kNever : schedule_[upcoming_ + count - 1].first;
}

void SimulatedResidency::skip_past() {
  while (upcoming_ < schedule_.size() && schedule_[upcoming_].first <= now_) ++upcoming_;
}

}  // namespace asterias::evict
