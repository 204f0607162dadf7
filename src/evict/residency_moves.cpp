// Residency's moves between tiers, and the room they take.
#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "evict/residency.hpp"
#include "evict/without_excess.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

}  // namespace

// ---- moves ----------------------------------------------------------------------------------------------------------

void Residency::start_move(Resident* resident, Tier from, Tier to, bool leaves, chunk::MoveTicket ticket) {
  transition(resident->on(from).state, CopyState::kLeaving);
  transition(resident->on(to).state, CopyState::kArriving);
  resident->move = Move{from, to, leaves, std::move(ticket), std::nullopt};
  if (recorder_) resident->move->record = recorder_->start_move(*resident, edge_between(from, to));
  in_flight_.push_back(resident);
  if (leaves && from == hierarchy_.compute_tier()) point_tenants(resident, nullptr);
  stats_.moved_bytes[static_cast<std::size_t>(edge_between(from, to))] += resident->bytes;
}

// Writes the copy one tier down. REQUIRES: room for it there.
void Residency::start_move_down(Resident* resident, Tier tier, bool leaves) {
  const Tier below = hierarchy_.below(tier);
  Copy& target = resident->on(below);
  enter(*resident, below);
  const std::byte* source = resident->on(tier).block.data();
  auto ticket = below == Tier::kNvme ? hierarchy_.swap().write(target.extents, {source, resident->bytes})
                                     : hierarchy_.copy(tier, target.block.data(), source, resident->bytes);
  start_move(resident, tier, below, leaves, std::move(ticket));
}

// Waits for the end of a move and counts the time; returns the move's error.
std::exception_ptr Residency::wait_for(Move& move) {
  const bool is_late = !move.ticket.done();
  const auto start = is_late ? hierarchy_.now() : Clock::time_point();
  std::exception_ptr error;
  try {
    move.ticket.wait();
  } catch (...) {
    error = std::current_exception();
  }
  if (is_late) count_stall(edge_between(move.from, move.to), start, hierarchy_.now());
  if (move.ticket.is_of_transfers()) note_busy(edge_between(move.from, move.to), move.ticket);
  if (move.record) recorder_->end_move(*move.record, move.ticket);
  return error;
}

void Residency::count_stall(Edge edge, Clock::time_point start, Clock::time_point end) {
  const auto ns = static_cast<std::uint64_t>((end - start).count());
  stats_.stall_ns[static_cast<std::size_t>(edge)] += ns;
  stalled_ns_ += ns;
  if (recorder_) recorder_->add_stall(edge, start, end);
}

// Waits for the move in flight and puts both copies into their final states.
void Residency::finish_move(Resident* resident) {
  Move move = std::move(*resident->move);
  const std::exception_ptr error = wait_for(move);
  resident->move.reset();
  std::erase(in_flight_, resident);
  transition(resident->on(move.from).state, CopyState::kCurrent);
  const bool goes = move.leaves && !error && resident->on(move.from).pins == 0;
  if (move.leaves && !goes && move.from == hierarchy_.compute_tier()) show(resident);
  if (error) {
    Copy& target = resident->on(move.to);
    transition(target.state, CopyState::kAbsent);
    target.block = chunk::Block();
    target.extents = chunk::Extents();
    leave(*resident, move.to);
    if (!failure_) failure_ = error;
    std::rethrow_exception(error);
  }
  become_current(resident, move.to);
  if (goes) drop(resident, move.from);
}

void Residency::become_current(Resident* resident, Tier tier) {
  transition(resident->on(tier).state, CopyState::kCurrent);
  if (tier == hierarchy_.compute_tier()) show(resident);
}

void Residency::drop(Resident* resident, Tier tier) {
  Copy& copy = resident->on(tier);
  transition(copy.state, CopyState::kAbsent);
  if (tier == hierarchy_.compute_tier()) point_tenants(resident, nullptr);
  copy.block = chunk::Block();
  copy.extents = chunk::Extents();
  leave(*resident, tier);
}

// Points the tenants at the copy on the compute tier.
void Residency::show(Resident* resident) {
  point_tenants(resident, resident->on(hierarchy_.compute_tier()).block.data());
}

void Residency::point_tenants(Resident* resident, std::byte* payload) {
  for (Tenant* tenant : resident->tenants) tenant->follow(payload);
}

// ---- room -----------------------------------------------------------------------------------------------------------

chunk::Block Residency::allocate(std::uint64_t bytes, Tier tier) {
  const Lock lock(mutex_);
  note_need(tier, chunk::TierPool::charge(bytes));
  auto block = take_room(bytes, tier);
  books_.note_peak(tier);
  note_live();
  if (is_scripting()) script_unmovable();
  note_content();
  return block;
}

chunk::Block Residency::take_room(std::uint64_t bytes, Tier tier) {
  auto& pool = hierarchy_.pool(tier);
  for (;;) {
    if (auto block = pool.try_take(bytes)) return std::move(*block);
    if (make_some_room(bytes, tier) || drop_a_shadow(tier)) continue;
    if (may_exceed(bytes)) return pool.take_beyond_limit(bytes);
    fail_for_want_of_room(tier);
  }
}

void Residency::fail_for_want_of_room(Tier tier) const {
  const auto& pool = hierarchy_.pool(tier);
  const std::uint64_t need = need_now_[index_of(tier)] + pool.foreign_bytes();
  std::string because = operator_name_;
  if (need <= pool.limit_bytes()) because += "; the rest could not leave, as the tiers below are full";
  throw OutOfMemory(tier, need, pool.limit_bytes(), because);
}

bool Residency::may_exceed(std::uint64_t bytes) {
  if (!measuring_ || timeline_.is_suspended() || !may_exceed_ || !may_exceed_(bytes)) return false;
  refused_ = true;
  return true;
}

// Frees something on `tier`, or says that nothing more can be freed.
bool Residency::make_some_room(std::uint64_t bytes, Tier tier) {
  const std::uint64_t shortfall = hierarchy_.pool(tier).shortfall(bytes);
  if (shortfall == 0) return true;  // a cached size was missing, or somebody gave bytes back
  const std::uint64_t leaving = leaving_bytes(tier);
  if (leaving < shortfall && start_departures(shortfall - leaving, tier) > 0) return true;
  return finish_one(tier);
}

std::uint64_t Residency::leaving_bytes(Tier tier) const {
  std::uint64_t leaving = 0;
  for (const Resident* resident : in_flight_)
    if (resident->move->from == tier && resident->move->leaves) leaving += resident->bytes;
  return leaving;
}

// Starts evictions, best candidate first, until `shortfall` bytes are on their way out. Returns what it started or
// dropped; not 0 where a shadow gave its room below: its place in the table is another's, so the candidates no longer
// hold.
std::uint64_t Residency::start_departures(std::uint64_t shortfall, Tier tier) {
  auto& candidates = candidates_[index_of(tier)];  // a departure's cascade ranks those of the tier below
  collect_candidates(tier, candidates);
  policy_->rank(candidates);
  std::uint64_t started = 0;
  for (const Candidate& candidate : candidates) {
    if (started >= shortfall) break;
    const std::size_t num_residents = residents_.size();
    if (depart(residents_[candidate.index].get(), tier)) started += candidate.bytes;
    if (residents_.size() != num_residents) return std::max<std::uint64_t>(started, 1);
  }
  return started;
}

void Residency::collect_candidates(Tier tier, std::vector<Candidate>& candidates) const {
  candidates.clear();
  for (const auto& resident : residents_) {
    const Copy& copy = resident->on(tier);
    if (copy.state != CopyState::kCurrent || copy.pins > 0 || resident->move) continue;
    candidates.push_back({resident->id, resident->index, is_redundant(resident.get(), tier), resident->bytes,
                          resident->last_use, next_use_on(tier, *resident), copy.arrival});
  }
}

bool Residency::is_redundant(const Resident* resident, Tier tier) const {
  if (resident->blank) return true;
  for (const Tier other : hierarchy_.levels())
    if (other != tier && resident->on(other).state == CopyState::kCurrent) return true;
  return false;
}

// Drops a redundant copy, or starts writing it one tier down. False when there is no place for it.
bool Residency::depart(Resident* resident, Tier tier) {
  if (resident->move || resident->on(tier).state != CopyState::kCurrent)
    return false;  // the cascade below moved it meanwhile
  expect_again(*resident, tier);
  if (is_redundant(resident, tier)) {
    drop(resident, tier);
    ++stats_.evictions_clean;
    return true;
  }
  if (!hierarchy_.has_below(tier)) return false;
  const Tier below = hierarchy_.below(tier);
  Copy& target = resident->on(below);
  if (below != Tier::kNvme) note_need(below, resident->bytes);
  pin(resident, tier);
  try {
    if (below == Tier::kNvme) {
      auto extents = take_extents(resident->bytes);
      if (extents) target.extents = std::move(*extents);
    } else {
      target.block = take_room(resident->bytes, below);
    }
  } catch (const OutOfMemory&) {
  } catch (...) {
    unpin(resident, tier);
    throw;
  }
  unpin(resident, tier);
  if (!target.block && !target.extents) return false;
  ++stats_.evictions_dirty;
  start_move_down(resident, tier, /*leaves=*/true);
  return true;
}

std::optional<chunk::Extents> Residency::take_extents(std::uint64_t bytes) {
  auto& swap = hierarchy_.swap();
  for (;;) {
    if (auto extents = try_take_extents(bytes)) return extents;
    if (reclaim_extents() || finish_one(Tier::kNvme) || drop_a_shadow(Tier::kNvme)) continue;
    if (may_exceed(0)) return swap.take_beyond_limit(bytes);
    return std::nullopt;
  }
}

std::optional<chunk::Extents> Residency::try_take_extents(std::uint64_t bytes) {
  try {
    return hierarchy_.swap().try_take(bytes);
  } catch (const IoError&) {
    if (!failure_) failure_ = std::current_exception();
    throw;
  }
}

// Gives up one copy on the drive that exists above as well.
bool Residency::reclaim_extents() {
  for (const auto& resident : residents_) {
    if (resident->move || resident->on(Tier::kNvme).state != CopyState::kCurrent) continue;
    if (resident->on(Tier::kNvme).pins > 0 || !is_redundant(resident.get(), Tier::kNvme)) continue;
    drop(resident.get(), Tier::kNvme);
    return true;
  }
  return false;
}

// Waits for one move that frees `tier`, or that lets a copy there be evicted.
bool Residency::finish_one(Tier tier) {
  for (Resident* resident : in_flight_) {
    if (resident->move->from != tier && resident->move->to != tier) continue;
    if (resident->move->to == tier && resident->on(tier).pins > 0) continue;
    finish_move(resident);
    return true;
  }
  return false;
}

// A check that needs more room than the work itself must not have a budget refused: what does not fit below stays.
void Residency::evict_all() {
  const Lock lock(mutex_);
  const WithoutExcess strict(measuring_);
  const Tier tier = hierarchy_.compute_tier();
  while (!in_flight_.empty()) finish_move(in_flight_.front());
  for (std::size_t at = 0; at < residents_.size(); ++at) {
    Resident* resident = residents_[at].get();
    if (resident->on(tier).state != CopyState::kCurrent || resident->on(tier).pins > 0) continue;
    if (depart(resident, tier) && resident->move) finish_move(resident);
  }
  hierarchy_.pool(tier).trim();
}

}  // namespace asterias::evict
