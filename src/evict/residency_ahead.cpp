// Residency's running ahead of what is foretold: starts moves that will be wanted, and waits for none.
#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "evict/look_ahead.hpp"
#include "evict/residency.hpp"
#include "evict/without_excess.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

// What an update ahead writes has a shadow, see try_shadow.
std::uint64_t shadow_bytes(const Resident& list) { return list.list == chunk::ListKind::kGrad ? 0 : list.bytes; }

}  // namespace

// When the copy on `tier` is used next. What is used on a slower tier first is not used here: it has to go there, or is
// written there and of no use any more.
Moment Residency::next_use_on(Tier tier, Resident& resident) const {
  const auto& use = next_use(resident);
  return use && use->tier <= tier ? use->at : kNever;
}

// Asked for every candidate again and again: remembered until it has passed.
const std::optional<Use>& Residency::next_use(Resident& resident) const {
  if (resident.awaited) {
    resident.foretold = Use{timeline_.now() + 1, resident.key, Tier::kCpu, Access::kWrite};
    return resident.foretold;
  }
  const bool holds =
      resident.foretold_in == timeline_.epoch() && (!resident.foretold || resident.foretold->at > timeline_.now());
  if (!holds) {
    if (resident.late)
      resident.foretold = use_of_late(resident);
    else if (resident.shadow_of)
      resident.foretold = timeline_.use_after_update(resident.shadow_of->key);
    else if (resident.shadow || resident.spent)  // of no more use
      resident.foretold.reset();
    else
      resident.foretold = timeline_.next_use(resident.key);
    resident.foretold_in = timeline_.epoch();
  }
  return resident.foretold;
}

// What an update has computed ahead will be used, however late that is: where there is a drive, it is written there.
bool Residency::is_about_to_die(const Candidate& candidate) const {
  Resident& resident = *residents_[candidate.index];
  return !(resident.shadow_of && hierarchy_.has_below(Tier::kCpu)) && !next_use(resident);
}

// Fetches what will be used and cleans what will have to leave, so that neither is waited for when its time comes.
void Residency::run_ahead() {
  if (look_ahead_ == 0 || failure_ || !timeline_.is_foretold()) return;
  finish_done();
  for (const Tier tier : hierarchy_.levels()) {
    if (tier == Tier::kNvme) return;
    if (hierarchy_.has_below(tier)) clean_ahead(tier);  // first: what is being cleaned blocks no fetch
    if (tier == Tier::kCpu) fetch_awaited();
    fetch_ahead(tier);
  }
}

// What has been written can make room, what has arrived can be used.
void Residency::finish_done() {
  finish_followed(/*waits=*/false);
  for (std::size_t at = 0; at < in_flight_.size();) {
    if (in_flight_[at]->move->ticket.done())
      finish_move(in_flight_[at]);  // takes it out of the list
    else
      ++at;
  }
}

// ---- fetching -------------------------------------------------------------------------------------------------------

// In the order in which they were asked for. The shadows of the first chunk find room when its lists are there.
void Residency::fetch_awaited() {
  std::uint64_t owed_bytes = 0;
  for (const Resident* list : awaited_)
    if (list->number == awaited_.front()->number) owed_bytes += shadow_bytes(*list);
  for (Resident* list : awaited_) {
    if (list->move || list->is_pinned() || is_here(*list, Tier::kCpu)) continue;
    if (!try_prefetch(list, Tier::kCpu, timeline_.now() + 1, owed_bytes)) return;
  }
}

// The room that updates ahead wait for: of lists that are not there, and of shadows.
std::uint64_t Residency::bytes_awaited() const {
  std::uint64_t bytes = 0;
  for (const Resident* list : awaited_) {
    if (!is_here(*list, Tier::kCpu)) bytes += list->bytes;
    bytes += shadow_bytes(*list);
  }
  return bytes;
}

// In the order of use, as long as there is room that nobody uses earlier. What an update has still to write is passed
// over, and its room left free. A way is given no more at once than what the next moments use, so that a fetch somebody
// waits for is soon its turn. While an update runs, nobody waits for what goes up from where it works, but long for
// what comes down.
void Residency::fetch_ahead(Tier tier) {
  auto& done = ahead_[static_cast<std::size_t>(tier)];
  if (!timeline_.look(done)) return;  // which also brings it up to date
  auto cursor = done;
  const std::size_t most_arriving = timeline_.in_pass() || tier == Tier::kCpu ? look_ahead_ : 2 * look_ahead_;
  bool is_all_done = true;
  std::uint64_t owed_bytes = 0;
  ++scan_;
  for (int left = kMostPassedOver; const auto use = timeline_.look(cursor);) {
    if (num_moments_arriving(tier) >= most_arriving) return;
    const Ahead outcome = fetch_for(*use, tier, owed_bytes);
    if (outcome == Ahead::kBlocked) return;
    Timeline::advance(cursor);
    is_all_done &= outcome == Ahead::kDone;
    if (is_all_done)
      done = cursor;
    else if (--left == 0)
      return;
  }
}

Residency::Ahead Residency::fetch_for(const Use& use, Tier tier, std::uint64_t& owed_bytes) {
  if (use.tier > tier || use.access == Access::kOverwrite) return Ahead::kDone;
  const auto found = by_key_.find(use.key.value());
  if (found == by_key_.end()) return Ahead::kDone;  // not born yet
  if (const LateUpdate* late = found->second->late)
    return found->second->list == chunk::ListKind::kParam ? fetch_for_late(*late, use.at, tier, owed_bytes)
                                                          : Ahead::kDone;  // used before that, see next_use
  const auto updated_on = timeline_.updated_before(use);
  const bool is_updated = updated_on.has_value();
  Resident* shadow = found->second->shadow;
  if (is_updated && !shadow) {
    if (*updated_on <= tier && (is_here(*found->second, tier) || is_above(*found->second, tier)))
      return Ahead::kDone;  // and stays there
    owe_room(*found->second, tier, owed_bytes);
    return Ahead::kNotYet;
  }
  if (found->second->spent || (!is_updated && shadow)) return Ahead::kDone;  // used already
  return fetch_list(is_updated ? *shadow : *found->second, use, tier, owed_bytes);
}

// Leaves room free for what comes when an update has written it, once a scan. Where an old copy lies that can be
// dropped then, it needs none; with a drive below it does, since used gradients, whose other copies have given their
// room away, fill the tier until the step ends.
void Residency::owe_room(Resident& resident, Tier tier, std::uint64_t& owed_bytes) const {
  const bool takes_old_place =
      !hierarchy_.has_below(Tier::kCpu) && is_here(resident, tier) && is_redundant(&resident, tier);
  if (!takes_old_place && std::exchange(resident.scanned_in, scan_) != scan_) owed_bytes += resident.bytes;
}

Residency::Ahead Residency::fetch_list(Resident& resident, const Use& use, Tier tier, std::uint64_t owed_bytes) {
  if (resident.blank || is_here(resident, tier)) return Ahead::kDone;
  const bool is_higher = is_above(resident, tier);
  if (is_higher && !comes_down_for(use, resident, tier)) return Ahead::kDone;
  if (activations_ == ActivationPlacement::kOffload && !use.key.is_chunk() &&
      use.at > timeline_.moment_of_upcoming(kScannedUses))
    return Ahead::kBlocked;
  if (resident.move) return resident.move->from == tier && !resident.move->gone ? Ahead::kDone : Ahead::kBlocked;
  if (!is_higher && !resident.on(hierarchy_.below(tier)).is_readable())
    return Ahead::kBlocked;  // comes from further down
  return try_prefetch(&resident, tier, use.at, owed_bytes) ? Ahead::kDone : Ahead::kBlocked;
}

// Says whether a copy above is to come down to `tier` now. What is in use, or will be used above before, comes later:
// let_go_of_used sees to that.
bool Residency::comes_down_for(const Use& use, Resident& resident, Tier tier) const {
  if (use.tier != tier || resident.is_pinned()) return false;
  const auto& next = next_use(resident);
  return next && next->at == use.at;
}

// What leaves may have been passed over because it was there.
void Residency::expect_again(Resident& resident, Tier tier) {
  if (look_ahead_ == 0 || tier == Tier::kNvme) return;
  if (const auto& use = next_use(resident); use && use->tier <= tier)
    timeline_.go_back(ahead_[static_cast<std::size_t>(tier)], use->at);
}

bool Residency::is_here(const Resident& resident, Tier tier) const {
  return resident.on(tier).state == CopyState::kArriving || resident.is_there_to_stay(tier);
}

bool Residency::is_above(const Resident& resident, Tier tier) const {
  return std::any_of(hierarchy_.levels().begin(), hierarchy_.levels().end(),
                     [&](Tier other) { return other < tier && is_here(resident, other); });
}

std::size_t Residency::num_moments_arriving(Tier tier) const {
  std::size_t count = 0;
  for (std::size_t at = 0; at < in_flight_.size(); ++at) {
    const Resident& resident = *in_flight_[at];
    if (resident.move->to != tier || !resident.ahead) continue;
    const auto is_same = [&](const Resident* other) {
      return other->move->to == tier && other->ahead && other->ahead_for == resident.ahead_for;
    };
    count += std::find_if(in_flight_.begin(), in_flight_.end(), is_same) - in_flight_.begin() ==
             static_cast<std::ptrdiff_t>(at);
  }
  return count;
}

// Starts moving the resident towards `tier`, one tier at a time. False when that takes more than dropping clean copies.
bool Residency::try_prefetch(Resident* resident, Tier tier, Moment used_at, std::uint64_t owed_bytes) {
  if (resident->blank || resident->move || resident->on(tier).state != CopyState::kAbsent) return false;
  const Tier source = source_of(resident, tier);
  if (source > tier && source != hierarchy_.below(tier))
    return try_prefetch(resident, hierarchy_.below(tier), used_at, owed_bytes);
  if (!drop_clean_for(resident->bytes, tier, used_at, room_besides(tier, used_at) + owed_bytes)) return false;
  try {
    start_fetch(resident, source, tier);
  } catch (const OutOfMemory&) {  // somebody else took the room
    return false;
  }
  resident->ahead = true;
  resident->ahead_for = used_at;
  return true;
}

// What a fetch has to leave free: on the compute tier for what will be born until its use, below for what has to leave
// that tier meanwhile.
std::uint64_t Residency::room_besides(Tier tier, Moment used_at) const {
  if (tier == hierarchy_.compute_tier()) return timeline_.growth_until(used_at);
  return timeline_.in_pass() ? needs_.largest_resident : 0;
}

// Drops clean copies that are used later than `used_at` until `bytes` fit; nothing if that is not enough for what will
// come besides. In the policy's order: a dirty copy that should go first is cleaned first, or something that is used
// earlier would have to come back.
bool Residency::drop_clean_for(std::uint64_t bytes, Tier tier, Moment used_at, std::uint64_t bytes_besides) {
  const auto& pool = hierarchy_.pool(tier);
  const std::uint64_t wanted = pool.shortfall(bytes + bytes_besides);
  if (wanted == 0 && pool.has_place(bytes)) return true;
  auto& candidates = candidates_[static_cast<std::size_t>(tier)];
  collect_candidates(tier, candidates);
  std::erase_if(candidates, [&](const Candidate& candidate) { return !candidate.clean && is_about_to_die(candidate); });
  policy_->rank(candidates);
  if (pool.is_one_piece()) return drop_clean_neighbours_for(bytes, tier, used_at, wanted);
  std::size_t num_dropped = 0;
  std::uint64_t freeable = 0;
  for (; num_dropped < candidates.size() && freeable < wanted; ++num_dropped) {
    const Candidate& candidate = candidates[num_dropped];
    if (!candidate.clean || candidate.next_use <= used_at) return false;
    freeable += candidate.bytes;
  }
  if (freeable < wanted) return false;
  for (std::size_t at = 0; at < num_dropped && pool.shortfall(bytes) > 0; ++at) {
    expect_again(*residents_[candidates[at].index], tier);
    drop(residents_[candidates[at].index].get(), tier);
    ++stats_.evictions_clean;
  }
  return true;
}

// ---- cleaning and leaving -------------------------------------------------------------------------------------------

// Keeps as much room free or free to take as will be wanted before long.
void Residency::clean_ahead(Tier tier) {
  const std::uint64_t shortfall = hierarchy_.pool(tier).shortfall(bytes_wanted(tier));
  if (shortfall == 0) return;
  std::uint64_t freeable = 0;
  for (const Resident* resident : in_flight_)
    if (resident->move->from == tier && !resident->move->gone) freeable += resident->bytes;
  if (freeable >= shortfall) return;
  // What is used before the next fetch, or soon, stays: cleaning it would make no room.
  const auto fetched_next = timeline_.look(ahead_[static_cast<std::size_t>(tier)]);
  const Moment soon = timeline_.now() + kNearMoments;
  const Moment stays_until = fetched_next ? std::min(fetched_next->at, soon) : soon;
  auto& candidates = candidates_[static_cast<std::size_t>(tier)];
  collect_candidates(tier, candidates);
  policy_->rank(candidates);
  for (const Candidate& candidate : candidates) {
    if (freeable >= shortfall || candidate.next_use <= stays_until) return;
    if (!candidate.clean && is_about_to_die(candidate)) continue;  // writing it would be for nothing
    if (!candidate.clean && !start_down(residents_[candidate.index].get(), tier, /*leaves=*/false)) return;
    freeable += candidate.bytes;
  }
}

// By the next fetches, and on the compute tier by what will be born, below it by updates ahead. More would be cleaned
// in vain: it is used, and written, before anybody needs its room.
std::uint64_t Residency::bytes_wanted(Tier tier) const {
  const std::uint64_t next = next_bytes(tier);
  if (tier != hierarchy_.compute_tier()) return std::max(look_ahead_ * needs_.largest_resident, next) + bytes_awaited();
  return std::max(needs_.largest_resident, next + timeline_.growth_until(timeline_.now() + kBirthMoments));
}

// Counts what the next moments use that is not on the tier yet: as many as are fetched ahead.
std::uint64_t Residency::next_bytes(Tier tier) const {
  std::uint64_t bytes = 0;
  std::size_t num_moments = 0;
  Moment last = timeline_.now();
  const LateUpdate* last_late = nullptr;
  for (auto cursor = ahead_[index_of(tier)]; const auto use = timeline_.look(cursor); Timeline::advance(cursor)) {
    if (use->tier > tier) continue;
    if (std::exchange(last, use->at) != use->at && ++num_moments > look_ahead_) break;
    const auto found = by_key_.find(use->key.value());
    if (found == by_key_.end()) continue;
    const auto add = [&](const Resident& resident) { bytes += is_here(resident, tier) ? 0 : resident.bytes; };
    const LateUpdate* const late = tier == Tier::kCpu ? found->second->late : nullptr;
    if (!late)
      add(*found->second);
    else if (std::exchange(last_late, late) != late)
      for (const Want& want : late->lists()) add(*want.resident);
  }
  return bytes;
}

// Starts writing a dirty copy one tier down. False when there is no room below, or nothing to write.
bool Residency::start_down(Resident* resident, Tier tier, bool leaves) {
  if (resident->move || resident->blank || resident->on(tier).state != CopyState::kCurrent) return false;
  if (resident->is_pinned() || is_redundant(resident, tier) || !hierarchy_.has_below(tier)) return false;
  const Tier below = hierarchy_.below(tier);
  Copy& target = resident->on(below);
  if (below == Tier::kNvme) {
    try {
      if (auto extents = try_take_extents(resident->bytes)) target.extents = std::move(*extents);
    } catch (const IoError&) {  // failure() keeps it
    }
  } else if (drop_clean_for(resident->bytes, below, next_use_on(below, *resident))) {
    auto block =
        hierarchy_.pool(below).try_take(resident->bytes, chunk::TierPool::End::kHigh, page_locked_for(*resident));
    if (block) target.block = std::move(*block);
  }
  if (!target.block && !target.extents) return false;
  start_move_down(resident, tier, leaves);
  return true;
}

// What the operator that has just ended used and that has no business on the compute tier any more leaves it.
void Residency::let_go_of_used() {
  if (failure_ || !timeline_.is_foretold() || !hierarchy_.has_below(hierarchy_.compute_tier())) return;
  for (const Use& used : timeline_.used_now()) {
    const auto found = by_key_.find(used.key.value());
    if (found == by_key_.end() || found->second->is_pinned()) continue;
    const auto next = next_use(*found->second);
    if (!next) continue;
    if (next->tier > used.tier)
      timeline_.go_back(ahead_[index_of(next->tier)], next->at);  // fetch_ahead may bring it down from now on
    if (!used.key.is_chunk() && activations_ == ActivationPlacement::kOffload) offload(found->second, *next);
  }
  if (activations_ == ActivationPlacement::kOffload) await_departures(look_ahead_ * needs_.largest_resident);
}

// Moves down what none of the next operators will use: what running ahead would bring back at once stays. What is on
// its way still takes its room, so no more than the next fetches would is let go at once. As with evict_all, what does
// not fit below stays.
void Residency::offload(Resident* resident, const Use& next) {
  if (next.at <= timeline_.moment_of_upcoming(kScannedUses)) return;
  const WithoutExcess strict(measuring_);
  depart(resident, hierarchy_.compute_tier());
}

void Residency::await_departures(std::uint64_t most_leaving_bytes) {
  const Tier tier = hierarchy_.compute_tier();
  while (leaving_bytes(tier) > most_leaving_bytes)
    vacate(*std::find_if(in_flight_.begin(), in_flight_.end(), [&](const Resident* resident) {
      return resident->move->from == tier && resident->move->leaves && !resident->move->gone;
    }));
}

}  // namespace asterias::evict
