#include "evict/residency.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "evict/look_ahead.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

// The update writes these on the cpu tier, and nothing moves up before it is used.
bool is_left_below(const Resident& resident) {
  return resident.is_chunk && resident.update_index >= 0 && resident.list != chunk::ListKind::kGrad;
}

// Keeps limits as they are while it lives, also during the measuring pass.
class WithoutExcess {
 public:
  explicit WithoutExcess(bool& measuring) : measuring_(measuring), before_(std::exchange(measuring, false)) {}
  WithoutExcess(const WithoutExcess&) = delete;
  WithoutExcess& operator=(const WithoutExcess&) = delete;
  ~WithoutExcess() { measuring_ = before_; }

 private:
  bool& measuring_;
  const bool before_;
};

using Span = std::pair<Residency::Clock::time_point, Residency::Clock::time_point>;

// How much time the spans cover.
std::uint64_t union_ns(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end());
  std::chrono::nanoseconds sum{0};
  Residency::Clock::time_point covered{};
  for (const auto& [start, end] : spans) {
    if (end > covered) sum += end - std::max(start, covered);
    covered = std::max(covered, end);
  }
  return static_cast<std::uint64_t>(sum.count());
}

// A script takes memory of the budget's: this bounds it at some MiB, dozens of passes of a large model.
constexpr std::size_t kMostScriptEvents = std::size_t{1} << 19;

}  // namespace

Residency::Residency(chunk::Hierarchy hierarchy, std::unique_ptr<EvictionPolicy> policy, int look_ahead,
                     ActivationPlacement activations)
    : hierarchy_(std::move(hierarchy)),
      policy_(std::move(policy)),
      look_ahead_(look_ahead),
      activations_(activations),
      books_(hierarchy_) {}

Residency::~Residency() {
  for (auto& resident : residents_)
    if (resident->move) try {
        resident->move->ticket.wait();
      } catch (...) {  // nobody is left to tell
      }
}

// ---- residents ------------------------------------------------------------------------------------------------------

Resident* Residency::add_resident(std::uint64_t bytes) {
  auto& resident = residents_.emplace_back(std::make_unique<Resident>());
  resident->id = next_id_++;
  resident->index = static_cast<std::uint32_t>(residents_.size() - 1);
  resident->bytes = bytes;
  content_bytes_ += bytes;
  needs_.largest_resident = std::max(needs_.largest_resident, bytes);
  return resident.get();
}

Resident* Residency::make_chunk(chunk::ListKind list, std::uint64_t bytes, std::int64_t update_index) {
  const Lock lock(mutex_);
  Resident* resident = add_resident(round_up(bytes, device::kPageBytes));
  resident->is_chunk = true;
  set_blank(resident, true);
  resident->list = list;
  resident->update_index = update_index;
  if (list == chunk::ListKind::kParam) ++num_chunks_;
  resident->number = num_chunks_ - 1;
  if (is_left_below(*resident)) needs_.updated_content += resident->bytes;
  resident->key = TraceKey::of_chunk(static_cast<std::uint32_t>(resident->id));
  by_key_[resident->key.value()] = resident;
  return resident;
}

Resident* Residency::adopt(chunk::Block block, Tenant* tenant) {
  const Lock lock(mutex_);
  const Tier tier = block.pool()->tier();
  Resident* resident = add_resident(block.bytes());
  resident->key = timeline_.on_birth();
  if (resident->key.is_named()) by_key_[resident->key.value()] = resident;
  resident->number = resident->id;
  resident->made_by = operator_name_;
  resident->last_use = resident->on(tier).arrival = ++clock_;
  resident->tenants.push_back(tenant);
  resident->on(tier).block = std::move(block);
  books_.adopt(*resident, tier);
  if (recorder_) recorder_->enter(*resident, tier);
  transition(resident->on(tier).state, CopyState::kCurrent);
  if (tier != hierarchy_.compute_tier())
    point_tenants(resident, nullptr);
  else if (activations_ == ActivationPlacement::kKeep && resident->is_of_pass())
    keep(resident);
  if (is_scripting()) script_->add(PassScript::What::kBirth, *resident, tier);
  note_content();
  return resident;
}

void Residency::add_tenant(Resident* resident, Tenant* tenant) {
  const Lock lock(mutex_);
  resident->tenants.push_back(tenant);
  const Copy& copy = resident->on(hierarchy_.compute_tier());
  tenant->follow(resident->is_there_to_stay(hierarchy_.compute_tier()) ? copy.block.data() : nullptr);
}

std::size_t Residency::remove_tenant(Resident* resident, Tenant* tenant) {
  const Lock lock(mutex_);
  std::erase(resident->tenants, tenant);
  const std::size_t left = resident->tenants.size();
  if (left == 0) die_if_unneeded(resident);
  return left;
}

void Residency::retire(Resident* resident) {
  const Lock lock(mutex_);
  resident->retired = true;
  if (resident->tenants.empty()) die_if_unneeded(resident);
}

void Residency::die_if_unneeded(Resident* resident) {
  if (resident->is_chunk && !resident->retired) return;
  resident->dying = true;
  if (std::exchange(resident->kept, false)) return unpin(resident, hierarchy_.compute_tier());
  if (!resident->is_pinned()) destroy(resident);
}

// Keeping is a pin that lasts: no policy meets it, and what is needed at least counts it.
void Residency::keep(Resident* resident) {
  resident->kept = true;
  pin(resident, hierarchy_.compute_tier());
}

void Residency::stop_keeping() {
  const Lock lock(mutex_);
  activations_ = ActivationPlacement::kAuto;
  for (const auto& resident : residents_)
    if (std::exchange(resident->kept, false)) unpin(resident.get(), hierarchy_.compute_tier());
}

// Ends every copy. REQUIRES: unpinned.
void Residency::drop_all(Resident* resident) {
  if (resident->move) try {
      finish_move(resident);
    } catch (...) {  // the bytes are not wanted any more; failure() keeps the error
    }
  for (const Tier tier : hierarchy_.levels())
    if (resident->on(tier).state == CopyState::kCurrent) drop(resident, tier);
}

void Residency::destroy(Resident* resident) {
  if (script_ && measuring_) script_->add(PassScript::What::kDeath, *resident);
  drop_all(resident);
  if (resident->blank) blank_bytes_ -= resident->bytes;
  if (const auto named = by_key_.find(resident->key.value()); named != by_key_.end() && named->second == resident)
    by_key_.erase(named);
  content_bytes_ -= resident->bytes;
  if (is_left_below(*resident)) needs_.updated_content -= resident->bytes;
  const std::uint32_t hole = resident->index;
  std::swap(residents_[hole], residents_.back());
  residents_[hole]->index = hole;
  residents_.pop_back();
}

void Residency::enter(Resident& resident, Tier tier) {
  resident.on(tier).arrival = ++clock_;
  books_.enter(resident, tier);
  if (recorder_) recorder_->enter(resident, tier);
}

void Residency::leave(const Resident& resident, Tier tier) {
  books_.leave(resident, tier);
  if (recorder_) recorder_->leave(resident, tier);
}

void Residency::forget(Resident* resident) {
  const Lock lock(mutex_);
  if (resident->is_pinned()) return;
  drop_all(resident);
  set_blank(resident, true);
  if (is_scripting()) script_->add(PassScript::What::kForget, *resident);
}

void Residency::set_blank(Resident* resident, bool blank) {
  if (resident->blank == blank) return;
  resident->blank = blank;
  blank_bytes_ += blank ? resident->bytes : -resident->bytes;
  note_content();
}

chunk::Block Residency::surrender(Resident* resident, Tier tier) {
  const Lock lock(mutex_);
  pin(resident, tier);
  chunk::Block block;
  try {
    start_bring(resident, tier, Access::kRead);
    await(resident, tier, Access::kWrite);
    claim(resident, tier, Access::kWrite);
    block = std::move(resident->on(tier).block);
    leave(*resident, tier);
    transition(resident->on(tier).state, CopyState::kAbsent);
  } catch (const OutOfMemory&) {
  } catch (...) {
    unpin(resident, tier);
    throw;
  }
  unpin(resident, tier);
  if (block) {
    resident->tenants.clear();
    destroy(resident);
  }
  return block;
}

// ---- pins -----------------------------------------------------------------------------------------------------------

void Residency::acquire(std::span<const Want> wants, Tier tier) {
  const Lock lock(mutex_);
  for (const Want& want : wants) refuse_two_places(want, tier);
  for (const Want& want : wants) {
    pin(want.resident, tier);
    touch(want.resident);
    if (is_scripting())
      script_->add(want.access == Access::kRead ? PassScript::What::kRead : PassScript::What::kWrite, *want.resident,
                   tier);
  }
  note_need(tier, 0);
  try {
    for (const Want& want : wants) start_bring(want.resident, tier, want.access);
    for (const Want& want : wants) await(want.resident, tier, want.access);
  } catch (...) {
    for (const Want& want : wants) {
      give_up_overwrite(want.resident, tier);
      unpin(want.resident, tier);
    }
    throw;
  }
  for (const Want& want : wants) claim(want.resident, tier, want.access);  // only now: a failed acquire loses no bytes
}

// A write makes all other copies absent, so none of them may be pinned.
void Residency::refuse_two_places(const Want& want, Tier tier) const {
  if (want.access == Access::kRead) return;
  for (const Tier other : hierarchy_.levels())
    if (other != tier && want.resident->on(other).pins > 0)
      throw StateError(StateError::Cause::kMisuse, "resident " + std::to_string(want.resident->id) +
                                                       " is to be written on the " + std::string(tier_name(tier)) +
                                                       " tier while it is pinned on the " +
                                                       std::string(tier_name(other)) + " tier");
}

void Residency::release(std::span<const Want> wants, Tier tier) noexcept {
  const Lock lock(mutex_);
  for (const Want& want : wants) {
    if (want.access != Access::kRead) invalidate_others(want.resident, tier);  // read elsewhere since, written here
    unpin(want.resident, tier);
  }
}

bool Residency::is_pinned(const Resident* resident) const {
  const Lock lock(mutex_);
  return resident->is_pinned();
}

void Residency::pin(Resident* resident, Tier tier) {
  if (resident->on(tier).pins++ == 0) books_.pin(*resident, tier);
}

void Residency::unpin(Resident* resident, Tier tier) noexcept {
  if (--resident->on(tier).pins > 0) return;
  books_.unpin(*resident, tier);
  if (resident->dying && !resident->is_pinned()) destroy(resident);
}

void Residency::touch(Resident* resident) {
  resident->last_use = ++clock_;
  timeline_.on_use(resident->key);
}

// Makes the resident current or arriving on `tier`. REQUIRES: pinned there.
void Residency::start_bring(Resident* resident, Tier tier, Access access) {
  if (auto& move = resident->move) {
    if (move->to != tier) stay(resident);
    if (move->from != tier && move->to != tier) finish_move(resident);
  }
  const bool is_ahead = std::exchange(resident->ahead, false);
  if (resident->on(tier).state != CopyState::kAbsent) {
    stats_.prefetch_hits += is_ahead;
    return;
  }
  if (resident->blank || access == Access::kOverwrite) return fill_blank(resident, tier, access);
  const Tier source = source_of(resident, tier);
  const bool neighbours = hierarchy_.has_below(tier) && hierarchy_.below(tier) == source;
  if (neighbours || source < tier) return start_fetch(resident, source, tier);
  const Tier middle = hierarchy_.below(tier);
  pin(resident, middle);
  try {
    note_need(middle, 0);
    start_fetch(resident, source, middle);
    finish_move(resident);
    start_fetch(resident, middle, tier);
  } catch (...) {
    unpin(resident, middle);
    throw;
  }
  unpin(resident, middle);
}

// What leaves is wanted again: the copy below becomes its clean twin. REQUIRES: a move in flight.
void Residency::stay(Resident* resident) {
  if (std::exchange(resident->move->leaves, false) && resident->move->from == hierarchy_.compute_tier()) show(resident);
}

// An overwriter's copy is "arriving" without a move until claim(): the old bytes may still be needed.
void Residency::fill_blank(Resident* resident, Tier tier, Access access) {
  Copy& copy = resident->on(tier);
  copy.block = take_room(resident->bytes, tier);
  enter(*resident, tier);
  if (access == Access::kOverwrite) return transition(copy.state, CopyState::kArriving);
  std::memset(copy.block.data(), 0, resident->bytes);
  become_current(resident, tier);
}

void Residency::give_up_overwrite(Resident* resident, Tier tier) {
  if (resident->on(tier).state == CopyState::kArriving && !resident->move) drop(resident, tier);
}

// Finds the nearest tier with the newest bytes.
Tier Residency::source_of(const Resident* resident, Tier tier) const {
  std::optional<Tier> best;
  for (const Tier other : hierarchy_.levels()) {
    if (other == tier || !resident->on(other).is_readable()) continue;
    const auto distance = [&](Tier at) { return std::abs(index_of(at) - index_of(tier)); };
    if (!best || distance(other) < distance(*best)) best = other;
  }
  if (!best) throw StateError(StateError::Cause::kBug, "resident " + std::to_string(resident->id) + " has no copy");
  return *best;
}

void Residency::start_fetch(Resident* resident, Tier from, Tier to) {
  pin(resident, from);  // the source must stay while room is made
  Copy& target = resident->on(to);
  try {
    target.block = take_room(resident->bytes, to);
    enter(*resident, to);
  } catch (...) {
    unpin(resident, from);
    throw;
  }
  unpin(resident, from);
  const Copy& source = resident->on(from);
  std::byte* into = target.block.data();
  auto ticket = from == Tier::kNvme ? hierarchy_.swap().read(source.extents, {into, resident->bytes})
                                    : hierarchy_.copy(from, into, source.block.data(), resident->bytes);
  ++stats_.fetches;
  start_move(resident, from, to, false, std::move(ticket));
}

// Waits for the bytes to arrive; a writer waits for those who read them, too.
void Residency::await(Resident* resident, Tier tier, Access access) {
  if (!resident->move || (resident->move->to != tier && access == Access::kRead)) return;
  finish_move(resident);
}

// Makes a writer's copy the only one. REQUIRES: awaited. Cannot fail.
void Residency::claim(Resident* resident, Tier tier, Access access) {
  if (access == Access::kRead) return;
  if (resident->on(tier).state == CopyState::kArriving) become_current(resident, tier);
  invalidate_others(resident, tier);
  set_blank(resident, false);
}

void Residency::invalidate_others(Resident* resident, Tier tier) {
  for (const Tier other : hierarchy_.levels())
    if (other != tier && resident->on(other).state == CopyState::kCurrent && resident->on(other).pins == 0)
      drop(resident, other);
}

void Residency::prefetch(Resident* resident, Tier tier) {
  const Lock lock(mutex_);
  if (!failure_) try_prefetch(resident, tier);
}

void Residency::write_behind(Resident* resident, Tier tier) {
  const Lock lock(mutex_);
  if (!failure_) start_write_behind(resident, tier);
}

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
  const auto start = is_late ? Clock::now() : Clock::time_point();
  std::exception_ptr error;
  try {
    move.ticket.wait();
  } catch (...) {
    error = std::current_exception();
  }
  if (is_late) count_stall(edge_between(move.from, move.to), start, Clock::now());
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
  if (is_scripting()) script_unmovable();
  note_content();
  return block;
}

chunk::Block Residency::take_room(std::uint64_t bytes, Tier tier) {
  auto& pool = hierarchy_.pool(tier);
  for (;;) {
    if (auto block = pool.try_take(bytes)) return std::move(*block);
    if (make_some_room(bytes, tier)) continue;
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
// dropped.
std::uint64_t Residency::start_departures(std::uint64_t shortfall, Tier tier) {
  auto& candidates = candidates_[index_of(tier)];  // a departure's cascade ranks those of the tier below
  collect_candidates(tier, candidates);
  policy_->rank(candidates);
  std::uint64_t started = 0;
  for (const Candidate& candidate : candidates) {
    if (started >= shortfall) break;
    if (depart(residents_[candidate.index].get(), tier)) started += candidate.bytes;
  }
  return started;
}

void Residency::collect_candidates(Tier tier, std::vector<Candidate>& candidates) const {
  candidates.clear();
  for (const auto& resident : residents_) {
    const Copy& copy = resident->on(tier);
    if (copy.state != CopyState::kCurrent || copy.pins > 0 || resident->move) continue;
    candidates.push_back({resident->id, resident->index, is_redundant(resident.get(), tier), resident->bytes,
                          resident->last_use, timeline_.next_use(resident->key, resident->update_index), copy.arrival});
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
    if (reclaim_extents() || finish_one(Tier::kNvme)) continue;
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

// ---- offloaded activations ------------------------------------------------------------------------------------------

// Moves down what the operator that has just ended used and none will use soon. What is on its way still takes its
// room, so no more than the next fetches would is let go at once. As with evict_all, what does not fit below stays.
void Residency::offload_used() {
  if (failure_ || !hierarchy_.has_below(hierarchy_.compute_tier())) return;
  const WithoutExcess strict(measuring_);
  timeline_.visit_used_now([&](TraceKey key) { offload_if_used_late(key); });
  await_departures(static_cast<std::uint64_t>(look_ahead_) * needs_.largest_resident);
}

// What running ahead would bring back at once stays, and what is not used again is about to die.
void Residency::offload_if_used_late(TraceKey key) {
  const Moment next_use = timeline_.next_use(key, -1);
  if (key.is_chunk() || next_use == kNever || next_use <= timeline_.moment_of_upcoming(kScannedUses)) return;
  const auto found = by_key_.find(key.value());
  if (found == by_key_.end() || found->second->is_pinned()) return;
  depart(found->second, hierarchy_.compute_tier());
}

void Residency::await_departures(std::uint64_t most_leaving_bytes) {
  const Tier tier = hierarchy_.compute_tier();
  while (leaving_bytes(tier) > most_leaving_bytes)
    finish_move(*std::find_if(in_flight_.begin(), in_flight_.end(), [&](const Resident* resident) {
      return resident->move->from == tier && resident->move->leaves;
    }));
}

// ---- books ----------------------------------------------------------------------------------------------------------

void Residency::note_need(Tier tier, std::uint64_t extra_bytes) {
  const std::uint64_t need = books_.unmovable_bytes(tier) + books_.pinned_bytes(tier) + extra_bytes;
  need_now_[index_of(tier)] = need;
  if (tier == hierarchy_.compute_tier()) timeline_.on_need(need);
  auto& most = needs_.working_set[index_of(tier)];
  if (need <= most) return;
  most = need;
  needs_.working_set_at[index_of(tier)] = operator_name_;
}

void Residency::note_content() {
  std::uint64_t content = content_bytes_ - (counts_blank_ ? 0 : blank_bytes_);
  for (const Tier tier : hierarchy_.levels())
    if (tier != Tier::kNvme) content += books_.unmovable_bytes(tier);
  needs_.content = std::max(needs_.content, content);
}

void Residency::note_future_need(Tier tier, std::uint64_t bytes, const char* what) {
  const Lock lock(mutex_);
  const char* before = std::exchange(operator_name_, what);
  note_need(tier, bytes);
  operator_name_ = before;
}

void Residency::count_blank(bool count) {
  const Lock lock(mutex_);
  counts_blank_ = count;
  note_content();
}

void Residency::require_room(Tier tier, std::uint64_t bytes, const char* what) {
  const Lock lock(mutex_);
  operator_name_ = what;
  note_need(tier, bytes);
  const auto& pool = hierarchy_.pool(tier);
  if (need_now_[index_of(tier)] + pool.foreign_bytes() > pool.limit_bytes()) fail_for_want_of_room(tier);
}

void Residency::with_timeline(const std::function<void(Timeline&)>& use) {
  const Lock lock(mutex_);
  use(timeline_);
  if (!timeline_.in_pass()) step_clock_.stop(step_clock_now());
}

void Residency::begin_operator(const char* name, std::uint64_t operator_hash) {
  const Lock lock(mutex_);
  if (activations_ == ActivationPlacement::kOffload) offload_used();
  operator_name_ = name;
  timeline_.on_operator(operator_hash);
  books_.begin_operator();
  if (script_ && script_->events.size() > kMostScriptEvents) {  // what was foretold by then stays
    script_.reset();
    step_clock_.forget();
  }
  time_operator(operator_hash);
  if (is_scripting()) {
    script_->add({PassScript::What::kOperator});
    script_unmovable();
  }
  if (recorder_) recorder_->next_moment();
  run_ahead();
}

// What an evaluation in the middle of a pass does is nobody's work.
void Residency::time_operator(std::uint64_t operator_hash) {
  if (!script_) return;
  if (timeline_.is_suspended()) return step_clock_.stop(step_clock_now());
  const StepClock::Place place{timeline_.in_pass(), timeline_.num_passes()};
  if (measuring_)
    step_clock_.add_operator(*script_, place, operator_hash, step_clock_now());
  else
    step_clock_.begin_operator(*script_, place, operator_hash, step_clock_now());
}

void Residency::begin_step_call() {
  const Lock lock(mutex_);
  if (script_) step_clock_.begin_step_call(*script_, step_clock_now());
}

void Residency::begin_update(std::uint32_t index, std::uint32_t count) {
  const Lock lock(mutex_);
  if (script_) step_clock_.begin_update(*script_, index, step_clock_now());
  timeline_.on_update(index, count);
  if (recorder_) recorder_->next_moment();
  if (look_ahead_ > 0 && !failure_) finish_done();
}

// ---- the trace of steps ---------------------------------------------------------------------------------------------

void Residency::start_trace() {
  const Lock lock(mutex_);
  if (recorder_) throw StateError(StateError::Cause::kMisuse, "a trace is running already; stop it first");
  recorder_ = std::make_unique<StepRecorder>(hierarchy_, books_, residents_);
  is_recording_ = true;
}

StepTrace Residency::stop_trace() {
  const Lock lock(mutex_);
  if (!recorder_) throw StateError(StateError::Cause::kMisuse, "no trace is running; start one first");
  for (Resident* resident : in_flight_) {
    Move& move = *resident->move;
    if (move.record && move.ticket.done()) recorder_->end_move(*move.record, move.ticket);
    move.record.reset();
  }
  is_recording_ = false;
  return std::exchange(recorder_, nullptr)->finish();
}

void Residency::record_operator(const char* name, Clock::time_point start, Clock::time_point end) {
  const Lock lock(mutex_);
  if (recorder_) recorder_->add_operator(name, start, end);
}

void Residency::record_phase(const char* name, Clock::time_point start, Clock::time_point end) {
  const Lock lock(mutex_);
  if (recorder_) recorder_->add_phase(name, start, end);
}

void Residency::record_update(const Resident* chunk, Clock::time_point start, Clock::time_point end) {
  const Lock lock(mutex_);
  if (recorder_) recorder_->add_update(*chunk, start, end);
}

void Residency::record_step_end(std::int64_t step) {
  const Lock lock(mutex_);
  step_clock_.stop(step_clock_now());
  step_clock_.end_step(timeline_.num_passes());
  if (recorder_) recorder_->end_step(step);
}

// ---- limits and figures ---------------------------------------------------------------------------------------------

void Residency::set_measuring(bool measuring, std::function<bool(std::uint64_t)> may_exceed) {
  const Lock lock(mutex_);
  measuring_ = measuring;
  may_exceed_ = std::move(may_exceed);
}

// ---- what later steps will be like ----------------------------------------------------------------------------------

void Residency::start_script() {
  const Lock lock(mutex_);
  script_ = std::make_unique<PassScript>();
  step_clock_.forget();
  scripted_unmovable_ = {};
  for (const auto& resident : residents_) {
    auto& actor = script_->actors[script_->actor_of(*resident)];
    actor.held = resident->is_pinned();
    for (const Tier tier : hierarchy_.levels()) actor.there[index_of(tier)] = resident->on(tier).is_readable();
  }
  script_unmovable();
}

// Frees are not heard of, only what is left of them.
void Residency::script_unmovable() {
  for (const Tier tier : hierarchy_.levels()) {
    if (tier == Tier::kNvme) continue;
    const std::uint64_t bytes = books_.unmovable_bytes(tier);
    if (std::exchange(scripted_unmovable_[index_of(tier)], bytes) == bytes) continue;
    script_->add({PassScript::What::kUnmovable, tier, 0, bytes});
  }
}

Simulation Residency::forecast() {
  const Lock lock(mutex_);
  if (!script_ || script_->events.size() == forecast_events_) return forecast_;
  forecast_ = evict::simulate(*script_, look_at_tiers(), *policy_);
  forecast_events_ = script_->events.size();
  return forecast_;
}

std::optional<Simulation> Residency::simulate(const MoveRates& rates) const {
  const Lock lock(mutex_);
  if (!script_) return std::nullopt;
  SimulatedTiers tiers = look_at_tiers();
  tiers.rates = rates;
  return evict::simulate(*script_, tiers, *policy_);
}

std::optional<RecordedStep> Residency::recorded_step() const {
  const Lock lock(mutex_);
  if (!script_) return std::nullopt;
  return RecordedStep{*script_, look_at_tiers(), std::string(policy_->name())};
}

SimulatedTiers Residency::look_at_tiers() const {
  SimulatedTiers tiers;
  tiers.levels = hierarchy_.levels();
  tiers.library_bytes = hierarchy_.pool(Tier::kCpu).library_bytes();
  tiers.look_ahead = static_cast<std::uint64_t>(look_ahead_);
  tiers.offloads = activations_ == ActivationPlacement::kOffload;
  for (const Tier tier : tiers.levels) {
    const std::uint64_t limit = hierarchy_.limit_bytes(tier);
    const std::uint64_t foreign = tier == Tier::kNvme ? 0 : hierarchy_.pool(tier).foreign_bytes();
    tiers.room[index_of(tier)] = limit == chunk::TierPool::kUnlimited ? limit : limit - std::min(limit, foreign);
  }
  return tiers;
}

bool Residency::is_refused() const {
  const Lock lock(mutex_);
  return refused_;
}

Needs Residency::needs() const {
  const Lock lock(mutex_);
  return needs_;
}

ResidencyStats Residency::stats() const {
  const Lock lock(mutex_);
  return stats_;
}

void Residency::reset_stats() {
  const Lock lock(mutex_);
  stats_ = ResidencyStats();
  for (auto& spans : busy_spans_) spans.clear();
  for (const Tier tier : hierarchy_.levels()) books_.reset_peak(tier);
}

void Residency::note_busy(Edge edge, const chunk::MoveTicket& ticket) {
  const std::size_t lane = std::min<std::size_t>(static_cast<std::size_t>(edge), 2);  // the drive is one
  busy_spans_[lane].push_back({ticket.started_at(), ticket.ended_at()});
}

BusyTimes Residency::busy_times() const {
  const Lock lock(mutex_);
  return {union_ns(busy_spans_[0]), union_ns(busy_spans_[1]), union_ns(busy_spans_[2])};
}

ContentBytes Residency::content(Tier tier) const {
  const Lock lock(mutex_);
  return books_.content(tier);
}

ContentBytes Residency::peak_content(Tier tier) {
  const Lock lock(mutex_);
  return books_.peak_content(tier);
}

std::uint64_t Residency::peak_activation_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return books_.peak_activation_bytes(tier);
}

std::exception_ptr Residency::failure() const {
  const Lock lock(mutex_);
  return failure_;
}

std::uint64_t Residency::resident_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return books_.resident_bytes(tier);
}

std::uint64_t Residency::pinned_bytes(Tier tier) const {
  const Lock lock(mutex_);
  return books_.pinned_bytes(tier);
}

std::size_t Residency::num_residents() const {
  const Lock lock(mutex_);
  return residents_.size();
}

void Residency::for_each(const std::function<void(const Resident&)>& visit) const {
  const Lock lock(mutex_);
  for (const auto& resident : residents_) visit(*resident);
}

}  // namespace asterias::evict
