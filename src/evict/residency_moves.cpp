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
  enter(*resident, below);
  auto ticket = start_transfer(resident, tier, below);
  start_move(resident, tier, below, leaves, std::move(ticket));
}

// Where not even that succeeds, nothing has entered `to`. REQUIRES: room for the bytes, which has been entered.
chunk::MoveTicket Residency::start_transfer(Resident* resident, Tier from, Tier to) {
  Copy& source = resident->on(from);
  Copy& target = resident->on(to);
  try {
    if (from == Tier::kNvme) return hierarchy_.swap().read(source.extents, {target.block.data(), resident->bytes});
    if (to == Tier::kNvme) return hierarchy_.swap().write(target.extents, {source.block.data(), resident->bytes});
    return hierarchy_.copy(from, target.block, source.block, resident->bytes);
  } catch (...) {
    target.block = chunk::Block();
    target.extents = chunk::Extents();
    leave(*resident, to);
    if (!failure_) failure_ = std::current_exception();
    throw;
  }
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

// Waits until a move has read what is about to be written or freed on `tier`.
void Residency::wait_for_reader(chunk::MoveTicket& reader, Tier tier) {
  if (reader.done()) return;
  const auto start = hierarchy_.now();
  reader.wait_ended();
  count_stall(edge_between(tier, hierarchy_.compute_tier()), start, hierarchy_.now());
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
  if (!move.gone) transition(resident->on(move.from).state, CopyState::kCurrent);
  const bool goes = !move.gone && move.leaves && !error && resident->on(move.from).pins == 0;
  if (!move.gone && move.leaves && !goes && move.from == hierarchy_.compute_tier()) show(resident);
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

// Ends a fetch in the order of the compute stream, which will wait for it. The source is read until then. False where
// only the host can wait.
bool Residency::follow(Resident* resident) {
  if (resident->move->to != hierarchy_.compute_tier() || !hierarchy_.follow(resident->move->ticket)) return false;
  Move move = std::move(*resident->move);
  resident->move.reset();
  std::erase(in_flight_, resident);
  const auto ticket = std::make_shared<chunk::MoveTicket>(std::move(move.ticket));
  followed_.push_back({ticket, edge_between(move.from, move.to), move.record});
  Copy& source = resident->on(move.from);
  transition(source.state, CopyState::kCurrent);
  source.reader = ticket;  // a card's link keeps its order, so earlier readers will have ended, too
  become_current(resident, move.to);
  return true;
}

// Takes note of followed moves that have ended, and frees what they read.
void Residency::finish_followed(bool waits) {
  std::erase_if(followed_, [&](Followed& move) {
    if (!waits && !move.ticket->done()) return false;
    try {
      move.ticket->wait();
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
    if (move.ticket->is_of_transfers()) note_busy(move.edge, *move.ticket);
    if (move.record && recorder_) recorder_->end_move(*move.record, *move.ticket);
    return true;
  });
  std::erase_if(lingering_, [](const Lingering& lingering) { return lingering.reader->done(); });
}

// Frees the room of what leaves the compute tier: by order where streams can wait for the copy, else by waiting.
void Residency::vacate(Resident* resident) {
  Move& move = *resident->move;
  if (move.ticket.done() || resident->on(move.from).pins > 0 || !move.ticket.has_points()) return finish_move(resident);
  move.gone = true;
  transition(resident->on(move.from).state, CopyState::kCurrent);
  drop(resident, move.from);
}

void Residency::become_current(Resident* resident, Tier tier) {
  transition(resident->on(tier).state, CopyState::kCurrent);
  if (tier == hierarchy_.compute_tier()) show(resident);
}

void Residency::drop(Resident* resident, Tier tier) {
  Copy& copy = resident->on(tier);
  transition(copy.state, CopyState::kAbsent);
  if (tier == hierarchy_.compute_tier()) point_tenants(resident, nullptr);
  free_memory(copy);
  leave(*resident, tier);
}

void Residency::free_memory(Copy& copy) {
  if (copy.reader && !copy.reader->done()) lingering_.push_back({std::move(copy.block), std::move(copy.reader)});
  copy.block = chunk::Block();
  copy.extents = chunk::Extents();
  copy.reader.reset();
}

// Points the tenants at the copy on the compute tier.
void Residency::show(Resident* resident) {
  point_tenants(resident, resident->is_hidden() ? nullptr : resident->on(hierarchy_.compute_tier()).block.data());
}

void Residency::point_tenants(Resident* resident, std::byte* payload) {
  for (Tenant* tenant : resident->tenants) tenant->follow(payload);
}

// ---- room -----------------------------------------------------------------------------------------------------------

chunk::Block Residency::allocate(std::uint64_t bytes, Tier tier) {
  const Lock lock(mutex_);
  note_need(tier, chunk::TierPool::charge(bytes));
  auto block = take_for_operator(bytes, tier);
  block.begin_use();
  note_operator_room(block.bytes(), tier);
  books_.note_peak(tier);
  note_live();
  if (is_scripting()) script_unmovable();
  note_content();
  return block;
}

// In one piece of memory: a hole between what can move would do now, but what the operator will ask for besides needs
// its place in what moving that clears.
chunk::Block Residency::take_for_operator(std::uint64_t bytes, Tier tier) {
  const auto take = [&] { return take_room(bytes, tier, chunk::TierPool::End::kHigh, PageLocked::kNever); };
  auto block = take();
  if (tier != hierarchy_.compute_tier() || !hierarchy_.pool(tier).is_one_piece()) return block;
  const std::uint64_t rest = room_of_operator();
  if (rest == 0 || hierarchy_.pool(tier).has_place(rest) || find_place(rest, tier, {})) return block;
  const std::uint64_t room = block.bytes() + rest;
  block.end_use(nullptr);  // nobody uses it
  block = {};
  clear_a_place(room, tier);
  return take();
}

// Where memory is one piece: what stays lies at one end, what passes at the other.
chunk::Block Residency::take_room_for(const Resident& resident, Tier tier) {
  const auto end = resident.is_chunk ? chunk::TierPool::End::kLow : chunk::TierPool::End::kHigh;
  return take_room(resident.bytes, tier, end, page_locked_for(resident));
}

chunk::Block Residency::take_room(std::uint64_t bytes, Tier tier, chunk::TierPool::End end, PageLocked page_locked) {
  auto& pool = hierarchy_.pool(tier);
  for (;;) {
    if (auto block = pool.try_take(bytes, end, page_locked)) return std::move(*block);
    if (make_some_room(bytes, tier) || drop_a_shadow(tier)) continue;
    if (may_exceed(bytes, !lacks_only_a_place(bytes, tier)))
      if (auto block = pool.take_beyond_limit(bytes)) return block;
    fail_for_want_of_room(tier);
  }
}

// True where what is needed is no more than the limit, and no place would be free if all left that are not pinned.
bool Residency::lacks_only_a_place(std::uint64_t bytes, Tier tier) {
  const auto& pool = hierarchy_.pool(tier);
  return pool.is_one_piece() && need_now_[index_of(tier)] + pool.foreign_bytes() <= pool.limit_bytes() &&
         !find_place(bytes, tier, {});
}

void Residency::fail_for_want_of_room(Tier tier) const {
  const auto& pool = hierarchy_.pool(tier);
  const std::uint64_t need = need_now_[index_of(tier)] + pool.foreign_bytes();
  std::string because = operator_name_;
  if (need <= pool.limit_bytes())
    because += pool.is_one_piece() ? "; the rest could not leave, or left no room in one place"
                                   : "; the rest could not leave, as the tiers below are full";
  throw OutOfMemory(tier, need, pool.limit_bytes(), because);
}

// What has room but no place passes no limit: the next time its place is kept free before (bring_around).
bool Residency::may_exceed(std::uint64_t bytes, bool is_beyond_limit) {
  if (!measuring_ || timeline_.is_suspended() || !may_exceed_ || !may_exceed_(bytes)) return false;
  refused_ |= is_beyond_limit;
  return true;
}

// Frees something on `tier`, or says that nothing more can be freed.
bool Residency::make_some_room(std::uint64_t bytes, Tier tier) {
  const auto& pool = hierarchy_.pool(tier);
  if (!lingering_.empty()) finish_followed(/*waits=*/false);
  const std::uint64_t shortfall = pool.shortfall(bytes);
  if (shortfall == 0 && pool.has_place(bytes)) return true;  // a cached size was missing, or somebody gave bytes back
  if (pool.is_one_piece()) return clear_a_place(bytes, tier);
  const std::uint64_t leaving = leaving_bytes(tier);
  if (leaving < shortfall && start_departures(shortfall - leaving, tier) > 0) return true;
  return finish_one(tier);
}

std::uint64_t Residency::leaving_bytes(Tier tier) const {
  std::uint64_t leaving = lingering_bytes_on(tier);
  for (const Resident* resident : in_flight_)
    if (resident->move->from == tier && resident->move->leaves && !resident->move->gone) leaving += resident->bytes;
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
      target.block = take_room_for(*resident, below);
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
    const Move& move = *resident->move;
    if ((move.from != tier || move.gone) && move.to != tier) continue;
    if (move.to == tier && resident->on(tier).pins > 0) continue;
    if (move.from == tier && move.leaves)
      vacate(resident);
    else
      finish_move(resident);
    return true;
  }
  const auto lingers = std::find_if(lingering_.begin(), lingering_.end(),
                                    [&](const Lingering& each) { return each.block.pool()->tier() == tier; });
  if (lingers == lingering_.end()) return false;
  wait_for_reader(*lingers->reader, tier);
  finish_followed(/*waits=*/false);
  return true;
}

// ---- memory in one piece --------------------------------------------------------------------------------------------

// Makes room in one place: where that costs least, all leave. False when something that stays lies everywhere.
bool Residency::clear_a_place(std::uint64_t bytes, Tier tier) {
  Ids stuck;
  while (const auto place = find_place(bytes, tier, stuck)) {
    const auto who = clear(*place, tier);
    if (!who) return hierarchy_.pool(tier).has_place(bytes);
    stuck.insert(*who);
  }
  return false;
}

// Who leaves costs its bytes, the more the later it stands in the policy's order. What is on its way out costs nothing.
void Residency::add_cost(Costs& costs, const Resident& resident, Tier tier, std::uint64_t rank) {
  costs[resident.on(tier).block.data()] = rank * (resident.bytes / device::kPageBytes);
}

std::optional<chunk::TierPool::Place> Residency::cheapest_place(std::uint64_t bytes, Tier tier,
                                                                const Costs& costs) const {
  return hierarchy_.pool(tier).cheapest_place(bytes, [&](const std::byte* data) -> std::optional<std::uint64_t> {
    const auto found = costs.find(data);
    return found == costs.end() ? std::nullopt : std::optional(found->second);
  });
}

std::optional<chunk::TierPool::Place> Residency::find_place(std::uint64_t bytes, Tier tier, const Ids& stuck) {
  auto& candidates = candidates_[index_of(tier)];
  collect_candidates(tier, candidates);
  policy_->rank(candidates);
  Costs costs;
  for (std::size_t at = 0; at < candidates.size(); ++at)
    if (!stuck.contains(candidates[at].id)) add_cost(costs, *residents_[candidates[at].index], tier, at + 1);
  for (const Resident* resident : in_flight_) {
    if (!resident->on(tier).block || resident->on(tier).pins > 0 || stuck.contains(resident->id)) continue;
    const bool leaves = resident->move->from == tier && resident->move->leaves;
    add_cost(costs, *resident, tier, leaves ? 0 : candidates.size() + 1);
  }
  return cheapest_place(bytes, tier, costs);
}

// As drop_clean_for, which has ranked the candidates: those that are dropped make room in one place.
bool Residency::drop_clean_neighbours_for(std::uint64_t bytes, Tier tier, Moment used_at, std::uint64_t wanted) {
  const auto& candidates = candidates_[index_of(tier)];
  Costs costs;
  std::uint64_t freeable = 0;
  for (std::size_t at = 0; at < candidates.size(); ++at) {
    if (!candidates[at].clean || candidates[at].next_use <= used_at) continue;
    freeable += candidates[at].bytes;
    add_cost(costs, *residents_[candidates[at].index], tier, at + 1);
  }
  if (freeable < wanted) return false;
  const auto place = cheapest_place(bytes, tier, costs);
  if (!place) return false;
  for (const Candidate& candidate : candidates) {
    Resident* resident = residents_[candidate.index].get();
    if (!place->holds(resident->on(tier).block.data())) continue;
    expect_again(*resident, tier);
    drop(resident, tier);
    ++stats_.evictions_clean;
  }
  return true;
}

// Has all leave who lie there. Returns who could not, if anybody.
std::optional<std::uint64_t> Residency::clear(const chunk::TierPool::Place& place, Tier tier) {
  std::vector<std::uint64_t> ids;
  for (const auto& resident : residents_)
    if (const auto& block = resident->on(tier).block; block && place.holds(block.data())) ids.push_back(resident->id);
  for (const std::uint64_t id : ids) {  // a departure may end others, and residents with them
    Resident* resident = find_resident(id);
    if (!resident || !resident->on(tier).block) continue;
    const bool leaves = resident->move && resident->move->from == tier && resident->move->leaves;
    if (resident->move && !leaves) finish_move(resident);
    if (!leaves && !depart(resident, tier)) return id;
  }
  for (const std::uint64_t id : ids)
    if (Resident* resident = find_resident(id); resident && resident->move && resident->on(tier).block)
      vacate(resident);
  return std::nullopt;
}

Resident* Residency::find_resident(std::uint64_t id) const {
  const auto found =
      std::find_if(residents_.begin(), residents_.end(), [&](const auto& resident) { return resident->id == id; });
  return found == residents_.end() ? nullptr : found->get();
}

void Residency::note_operator_room(std::uint64_t bytes, Tier tier) {
  if (tier != hierarchy_.compute_tier() || !hierarchy_.pool(tier).is_one_piece()) return;
  const std::uint64_t now = unmovable_bytes(tier);
  operator_room_.is_placed = true;  // an operator that names nothing is placed by what it asks for
  operator_room_.taken += bytes;
  operator_room_.most = std::max(operator_room_.most, now - std::min(now, operator_room_.unmovable_before));
}

// What the operator will still ask for, as far as that can be. One that was never seen may want as much as any.
std::uint64_t Residency::room_of_operator() const {
  const auto known = operator_rooms_.find(operator_room_.hash);
  const std::uint64_t unknown = measuring_ ? 0 : largest_operator_room_;
  const std::uint64_t room = known == operator_rooms_.end() ? unknown : known->second;
  const Tier tier = hierarchy_.compute_tier();
  const std::uint64_t limit = hierarchy_.pool(tier).bytes_for_large();
  const std::uint64_t unmovable = unmovable_bytes(tier);
  const std::uint64_t has = unmovable - std::min(unmovable, operator_room_.unmovable_before);
  const std::uint64_t others = unmovable + books_.pinned_bytes(tier);
  return std::min(room - std::min(room, has), limit - std::min(limit, others));
}

// Asked once for each operator, when what it uses is there.
bool Residency::lacks_place_for_operator(Tier tier) {
  const auto& pool = hierarchy_.pool(tier);
  if (tier != hierarchy_.compute_tier() || !pool.is_one_piece()) return false;
  if (std::exchange(operator_room_.is_placed, true)) return false;
  const std::uint64_t bytes = room_of_operator();
  return bytes > 0 && !pool.has_place(bytes) && !find_place(bytes, tier, {});
}

// What was taken besides the accelerator's memory while that was measured goes where there is a place.
void Residency::leave_besides() {
  const Tier tier = hierarchy_.compute_tier();
  for (std::size_t at = 0; at < residents_.size(); ++at) {
    Resident* resident = residents_[at].get();
    if (!resident->on(tier).block.is_besides() || resident->on(tier).pins > 0) continue;
    if (resident->move) finish_move(resident);
    if (depart(resident, tier) && resident->move) finish_move(resident);
  }
}

// ---- everything leaves ----------------------------------------------------------------------------------------------

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
