#include "evict/simulated_residency.hpp"

#include <algorithm>
#include <cstdlib>

namespace asterias::evict {

using chunk::CopyState;

bool SimulatedActor::existed() const {
  return std::any_of(script->there.begin(), script->there.end(), [](bool on) { return on; });
}

SimulatedResidency::SimulatedResidency(const PassScript& script, const SimulatedTiers& tiers,
                                       const EvictionPolicy& policy)
    : tiers_(tiers), policy_(policy), lanes_(tiers.rates) {
  for (const auto& each : script.actors) {
    SimulatedActor& actor = actors_.emplace_back();
    actor.script = &each;
    actor.blank = each.blank;
    largest_bytes_ = std::max(largest_bytes_, each.bytes);
    for (const Tier tier : tiers.levels)
      if (each.there[index_of(tier)]) enter(actor, tier, CopyState::kCurrent);
    set_alive(actor, actor.existed());
  }
}

// ---- what happens in a step -----------------------------------------------------------------------------------------

void SimulatedResidency::begin_step() {
  now_ = 0;
  upcoming_ = 0;
  used_.clear();
  moved_bytes_ = {};
  stall_ns_ = {};
  books_.reset_peaks();
  for (auto& actor : actors_) actor.pinned_at = kNever;
}

void SimulatedResidency::begin_operator() {
  offload_used();
  ++now_;
  books_.begin_operator();
  run_ahead();
}

void SimulatedResidency::begin_update() {
  ++now_;
  books_.begin_operator();
  if (tiers_.look_ahead > 0) finish_done();
}

void SimulatedResidency::use(SimulatedActor& actor, Tier tier, bool writes) {
  actor.pinned_at = now_;
  actor.last_use = ++clock_;
  if (actor.script->is_of_pass) used_.push_back(&actor);
  start_bring(actor, tier);
  if (actor.move)
    awaited_.push_back({&actor, tier, writes});
  else if (writes)
    claim(actor, tier);
}

void SimulatedResidency::await_uses() {
  for (const Use& use : awaited_)
    if (use.actor->move && (use.actor->move->to == use.tier || use.writes)) finish_move(*use.actor);
  for (const Use& use : awaited_)
    if (use.writes) claim(*use.actor, use.tier);
  awaited_.clear();
}

void SimulatedResidency::be_born(SimulatedActor& actor, Tier tier) {
  if (actor.alive) return;  // it was there when the script began
  set_alive(actor, true);
  actor.blank = false;
  actor.pinned_at = now_;
  actor.last_use = ++clock_;
  actor.states[index_of(tier)] = CopyState::kCurrent;
  actor.arrival[index_of(tier)] = ++clock_;
  books_.adopt(actor.script->kind, actor.script->bytes, tier);
}

void SimulatedResidency::die(SimulatedActor& actor) {
  drop_all(actor);
  set_alive(actor, actor.existed());
}

void SimulatedResidency::forget(SimulatedActor& actor) {
  die(actor);
  actor.blank = true;
}

void SimulatedResidency::set_unmovable(Tier tier, std::uint64_t bytes) {
  const std::uint64_t before = books_.unmovable_bytes(tier);
  if (bytes > before) make_room(tier, bytes - before);
  books_.set_unmovable(tier, bytes);
  most_unmovable_bytes_ = std::max(most_unmovable_bytes_, bytes);
}

// ---- moves ----------------------------------------------------------------------------------------------------------

Tier SimulatedResidency::below(Tier tier) const {
  return *std::next(std::find(tiers_.levels.begin(), tiers_.levels.end(), tier));
}

// Makes the actor current or arriving on `tier`.
void SimulatedResidency::start_bring(SimulatedActor& actor, Tier tier) {
  if (auto& move = actor.move) {
    if (move->to != tier) move->leaves = false;
    if (move->from != tier && move->to != tier) finish_move(actor);
  }
  if (!actor.is_absent(tier)) return;
  const auto source = source_of(actor, tier);
  if (source && !actor.blank && *source > tier && below(tier) != *source) {
    start_bring(actor, below(tier));
    if (actor.move) finish_move(actor);
    return start_bring(actor, tier);
  }
  make_room(tier, actor.script->bytes);
  if (actor.blank || !source) return enter(actor, tier, CopyState::kCurrent);
  start_move(actor, *source, tier, /*leaves=*/false);
}

// The tier nearest to `tier` that has the bytes.
std::optional<Tier> SimulatedResidency::source_of(const SimulatedActor& actor, Tier tier) const {
  std::optional<Tier> best;
  for (const Tier other : tiers_.levels) {
    const auto distance = [&](Tier at) { return std::abs(index_of(at) - index_of(tier)); };
    if (actor.is_readable(other) && (!best || distance(other) < distance(*best))) best = other;
  }
  return best;
}

// Makes a writer's copy the only one.
void SimulatedResidency::claim(SimulatedActor& actor, Tier tier) {
  for (const Tier other : tiers_.levels)
    if (other != tier && actor.is_current(other)) drop(actor, other);
  actor.blank = false;
}

void SimulatedResidency::start_move(SimulatedActor& actor, Tier from, Tier to, bool leaves) {
  const Edge edge = edge_between(from, to);
  moved_bytes_[static_cast<std::size_t>(edge)] += actor.script->bytes;
  actor.states[index_of(from)] = CopyState::kLeaving;
  enter(actor, to, CopyState::kArriving);
  actor.move = {from, to, leaves, lanes_.start(edge, actor.script->bytes, now_ns_)};
  in_flight_.push_back(&actor);
  if (actor.move->end_ns <= now_ns_) finish_move(actor);
}

// Waits for the move in flight and puts both copies into their final states.
void SimulatedResidency::finish_move(SimulatedActor& actor) {
  const SimulatedActor::Move move = *std::exchange(actor.move, std::nullopt);
  std::erase(in_flight_, &actor);
  const std::uint64_t end_ns = std::max(now_ns_, move.end_ns);
  stall_ns_[static_cast<std::size_t>(edge_between(move.from, move.to))] += end_ns - now_ns_;
  now_ns_ = end_ns;
  actor.states[index_of(move.from)] = actor.states[index_of(move.to)] = CopyState::kCurrent;
  if (move.leaves) drop(actor, move.from);
}

// ---- room -----------------------------------------------------------------------------------------------------------

std::uint64_t SimulatedResidency::shortfall(Tier tier, std::uint64_t bytes) const {
  const std::uint64_t room = tiers_.room[index_of(tier)], wanted = books_.used_bytes(tier) + bytes;
  return wanted > room ? wanted - room : 0;
}

void SimulatedResidency::make_room(Tier tier, std::uint64_t bytes) {
  while (const std::uint64_t lacking = shortfall(tier, bytes)) {
    const std::uint64_t leaving = leaving_bytes(tier);
    if (leaving < lacking && start_departures(lacking - leaving, tier)) continue;
    if (!finish_one(tier)) return;
  }
}

std::uint64_t SimulatedResidency::leaving_bytes(Tier tier) const {
  std::uint64_t leaving = 0;
  for (const auto* actor : in_flight_)
    if (actor->move->from == tier && actor->move->leaves) leaving += actor->script->bytes;
  return leaving;
}

bool SimulatedResidency::start_departures(std::uint64_t lacking, Tier tier) {
  std::uint64_t started = 0;
  for (const Candidate& candidate : ranked(tier)) {
    if (started >= lacking) break;
    if (depart(actors_[candidate.index], tier)) started += candidate.bytes;
  }
  return started > 0;
}

// Drops a redundant copy, or starts writing it one tier down.
bool SimulatedResidency::depart(SimulatedActor& actor, Tier tier) {
  if (actor.move || !actor.is_current(tier)) return false;
  if (is_redundant(actor, tier)) {
    drop(actor, tier);
    return true;
  }
  if (!has_below(tier)) return false;
  const Moment before = std::exchange(actor.pinned_at, now_);
  make_room(below(tier), actor.script->bytes);
  actor.pinned_at = before;
  start_move(actor, tier, below(tier), /*leaves=*/true);
  return true;
}

// Waits for one move that frees `tier`, or that lets a copy there be evicted.
bool SimulatedResidency::finish_one(Tier tier) {
  for (SimulatedActor* actor : in_flight_) {
    if (actor->move->from != tier && actor->move->to != tier) continue;
    if (actor->move->to == tier && is_pinned(*actor)) continue;
    finish_move(*actor);
    return true;
  }
  return false;
}

std::vector<Candidate> SimulatedResidency::ranked(Tier tier) const {
  std::vector<Candidate> candidates;
  for (std::uint32_t i = 0; i < actors_.size(); ++i) {
    const SimulatedActor& actor = actors_[i];
    if (actor.move || !actor.is_current(tier) || is_pinned(actor)) continue;
    candidates.push_back({actor.script->id, i, is_redundant(actor, tier), actor.script->bytes, actor.last_use,
                          next_use(actor), actor.arrival[index_of(tier)]});
  }
  policy_.rank(candidates);
  return candidates;
}

bool SimulatedResidency::is_redundant(const SimulatedActor& actor, Tier tier) const {
  if (actor.blank) return true;
  for (const Tier other : tiers_.levels)
    if (other != tier && actor.is_current(other)) return true;
  return false;
}

// An operator pins all that it names before it brings the first.
bool SimulatedResidency::is_pinned(const SimulatedActor& actor) const {
  return actor.script->held || actor.pinned_at == now_ ||
         std::binary_search(actor.uses.begin(), actor.uses.end(), now_);
}

Moment SimulatedResidency::next_use(const SimulatedActor& actor) const {
  const auto next = std::upper_bound(actor.uses.begin(), actor.uses.end(), now_);
  if (next != actor.uses.end()) return *next;
  return actor.is_chunk() && !actor.uses.empty() ? period_ + actor.uses.front() : kNever;
}

// ---- books ----------------------------------------------------------------------------------------------------------

void SimulatedResidency::enter(SimulatedActor& actor, Tier tier, CopyState state) {
  actor.states[index_of(tier)] = state;
  actor.arrival[index_of(tier)] = ++clock_;
  books_.enter(actor.script->kind, actor.script->bytes, tier);
}

void SimulatedResidency::drop(SimulatedActor& actor, Tier tier) {
  actor.states[index_of(tier)] = CopyState::kAbsent;
  books_.leave(actor.script->kind, actor.script->bytes, tier);
}

void SimulatedResidency::drop_all(SimulatedActor& actor) {
  if (actor.move) finish_move(actor);
  for (const Tier tier : tiers_.levels)
    if (actor.is_current(tier)) drop(actor, tier);
}

void SimulatedResidency::set_alive(SimulatedActor& actor, bool alive) {
  if (actor.is_chunk() || std::exchange(actor.alive, alive) == alive) return;
  activation_bytes_ += alive ? actor.script->bytes : -actor.script->bytes;
  most_activation_bytes_ = std::max(most_activation_bytes_, activation_bytes_);
}

}  // namespace asterias::evict
