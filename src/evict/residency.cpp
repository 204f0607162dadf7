#include "evict/residency.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "evict/look_ahead.hpp"
#include "evict/without_excess.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

// The update writes these on the cpu tier, and nothing moves up before it is used.
bool is_left_below(const Resident& resident) {
  return resident.is_chunk && resident.update_index >= 0 && resident.list != chunk::ListKind::kGrad;
}

constexpr std::size_t kMostOperatorRooms = std::size_t{1} << 16;
// A script takes memory of the budget's: this bounds it at some MiB, dozens of passes of a large model.
constexpr std::size_t kMostScriptEvents = std::size_t{1} << 19;

// The update of a chunk elsewhere is another one.
std::uint64_t hash_of_update(std::uint32_t place, Tier tier) {
  return std::uint64_t{place} * kNumTiers + static_cast<std::uint64_t>(index_of(tier));
}

}  // namespace

Residency::Residency(chunk::Hierarchy hierarchy, std::shared_ptr<const EvictionPolicy> policy, int look_ahead,
                     ActivationPlacement activations)
    : hierarchy_(std::move(hierarchy)),
      policy_(std::move(policy)),
      look_ahead_(static_cast<std::size_t>(look_ahead)),
      activations_(activations),
      books_(hierarchy_) {}

Residency::~Residency() {
  finish_followed(/*waits=*/true);
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
  resident->crosses_link = tier == Tier::kGpu;
  resident->on(tier).block = std::move(block);
  books_.adopt(*resident, tier);
  activation_bytes_ += resident->bytes;
  note_live();
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

void Residency::mark_table(Resident* resident) {
  const Lock lock(mutex_);
  resident->is_table = true;
}

void Residency::count_as_gradient(Resident* activation) {
  const Lock lock(mutex_);
  if (std::exchange(activation->is_gradient, true)) return;
  activation_bytes_ -= activation->bytes;
  for (const Tier tier : hierarchy_.levels())
    if (activation->on(tier).state != CopyState::kAbsent) books_.count_as_gradient(*activation, tier);
  if (std::exchange(activation->kept, false)) unpin(activation, hierarchy_.compute_tier());
  note_live();
}

void Residency::add_tenant(Resident* resident, Tenant* tenant) {
  const Lock lock(mutex_);
  resident->tenants.push_back(tenant);
  const Copy& copy = resident->on(hierarchy_.compute_tier());
  const bool is_shown = resident->is_there_to_stay(hierarchy_.compute_tier()) && !resident->is_hidden();
  tenant->follow(is_shown ? copy.block.data() : nullptr);
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
  if (resident->move && !follow(resident)) try {
      finish_move(resident);
    } catch (...) {  // the bytes are not wanted any more; failure() keeps the error
    }
  for (const Tier tier : hierarchy_.levels())
    if (resident->on(tier).state == CopyState::kCurrent) drop(resident, tier);
}

void Residency::destroy(Resident* resident) {
  if (script_ && measuring_) script_->add(PassScript::What::kDeath, *resident);
  stop_awaiting(resident);
  drop_all(resident);
  if (resident->shadow) destroy(resident->shadow);
  if (resident->shadow_of) {
    resident->shadow_of->shadow = nullptr;
    shadow_bytes_ -= resident->bytes;
  }
  if (resident->blank) blank_bytes_ -= resident->bytes;
  if (const auto named = by_key_.find(resident->key.value()); named != by_key_.end() && named->second == resident)
    by_key_.erase(named);
  if (!resident->shadow_of) content_bytes_ -= resident->bytes;
  if (!resident->is_chunk && !resident->is_gradient) activation_bytes_ -= resident->bytes;
  if (is_left_below(*resident) && !resident->shadow_of) needs_.updated_content -= resident->bytes;
  const std::uint32_t hole = resident->index;
  std::swap(residents_[hole], residents_.back());
  residents_[hole]->index = hole;
  residents_.pop_back();
}

void Residency::enter(Resident& resident, Tier tier) {
  resident.crosses_link |= tier == Tier::kGpu;
  resident.on(tier).arrival = ++clock_;
  books_.enter(resident, tier);
  if (recorder_) recorder_->enter(resident, tier);
}

void Residency::leave(const Resident& resident, Tier tier) {
  books_.leave(resident, tier);
  if (recorder_) recorder_->leave(resident, tier);
}

void Residency::forget(Resident* resident) {
  std::unique_lock<std::recursive_mutex> alone(late_mutex_, std::defer_lock);
  if (num_late_ > 0) alone.lock();  // who computes a late update may be about to read this
  const Lock lock(mutex_);
  if (resident->is_pinned()) return;
  if (resident->late) {
    resident->forgets_late = true;
    return;
  }
  stop_awaiting(resident);
  ++resident->version;
  resident->spent = false;
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
    start_bring({resident, Access::kRead}, tier);
    await(resident, tier, Access::kWrite);
    resident->on(tier).block.begin_use();
    claim(resident, tier, Access::kWrite);
    block = std::move(resident->on(tier).block);
    resident->on(tier).reader.reset();
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
  catch_up_with(wants);
  acquire_now(wants, tier, Traced::kYes);
}

void Residency::acquire_now(std::span<const Want> wants, Tier tier, Traced traced) {
  Lock lock(mutex_);
  for (const Want& want : wants) refuse_two_places(want, tier);
  pin_all(wants, tier, traced);
  if (is_scripting() && traced == Traced::kYes)
    for (const Want& want : wants)
      script_->add(want.access == Access::kRead ? PassScript::What::kRead : PassScript::What::kWrite, *want.resident,
                   tier);
  note_need(tier, 0);
  try {
    start_bringing(wants, tier);
    do {
      if (num_late_ == 0) continue;
      lock.unlock();
      catch_up_while_waiting_for(wants, tier);
      lock.lock();
    } while (wait_for_an_end(wants, tier));
    finish_bringing(wants, tier);
    if (lacks_place_for_operator(tier)) {
      const std::uint64_t room_bytes = room_of_operator();
      let_go(wants, tier);
      bring_around(room_bytes, wants, tier);
    }
  } catch (const OutOfMemory& error) {  // what was there already may have lain between
    if (error.tier() != tier || !hierarchy_.pool(tier).is_one_piece()) throw;
    bring_around(0, wants, tier);
  }
  for (const Want& want : wants) claim(want.resident, tier, want.access);  // only now: a failed acquire loses no bytes
}

// As acquire, but without effect where there is no room. What is only tried is no need.
bool Residency::try_acquire(std::span<const Want> wants, Tier tier) {
  const WithoutExcess strict(measuring_);
  pin_all(wants, tier);
  try {
    bring(wants, tier);
  } catch (const OutOfMemory&) {
    return false;
  }
  for (const Want& want : wants) claim(want.resident, tier, want.access);
  return true;
}

// In one piece, state that lies about must leave the largest operator a place: what fits besides that only.
bool Residency::can_pin(std::span<const Want> wants, Tier tier) const {
  const auto& pool = hierarchy_.pool(tier);
  std::uint64_t bytes = unmovable_bytes(tier) + books_.pinned_bytes(tier) + pool.foreign_bytes();
  for (const Want& want : wants) {
    if (want.resident->on(tier).pins == 0) bytes += want.resident->bytes;
    for (const Tier other : hierarchy_.levels())
      if (other != tier && want.resident->on(other).pins > 0) return false;
  }
  return bytes + (pool.is_one_piece() ? working_set_bytes(tier) : 0) <= pool.limit_bytes();
}

void Residency::pin_all(std::span<const Want> wants, Tier tier, Traced traced) {
  for (const Want& want : wants) {
    pin(want.resident, tier);
    touch(want, tier, traced);
  }
}

// REQUIRES: all are pinned. After an exception none is.
void Residency::bring(std::span<const Want> wants, Tier tier) {
  start_bringing(wants, tier);
  while (wait_for_an_end(wants, tier)) continue;
  finish_bringing(wants, tier);
}

void Residency::start_bringing(std::span<const Want> wants, Tier tier) {
  try {
    for (const Want& want : wants) start_bring(want, tier);
    run_ahead();  // behind what is wanted at once
  } catch (...) {
    let_go(wants, tier);
    throw;
  }
}

// Says whether the host would wait for it. Where a stream can, work goes on being enqueued.
bool Residency::is_coming(const Want& want, Tier tier) const {
  const auto& move = want.resident->move;
  return move && move->to == tier && !move->ticket.done() &&
         (tier != hierarchy_.compute_tier() || !move->ticket.has_points());
}

// Where something has to be waited for, waits until any move has ended, and starts what can follow it: what is foretold
// goes on meanwhile. False where nothing has, or nothing is foretold. REQUIRES: `wants` are pinned.
bool Residency::wait_for_an_end(std::span<const Want> wants, Tier tier) {
  if (look_ahead_ == 0 || failure_ || !timeline_.is_foretold()) return false;
  const auto coming = [&](const Want& want) { return is_coming(want, tier); };
  const auto first = std::find_if(wants.begin(), wants.end(), coming);
  if (first == wants.end()) return false;
  for (const Want& want : wants)
    if (coming(want)) want.resident->move->ticket.hurry();
  const Move& move = *first->resident->move;
  const auto start = hierarchy_.now();
  move.ticket.wait_until([&] {
    return std::any_of(in_flight_.begin(), in_flight_.end(),
                       [](const Resident* resident) { return resident->move->ticket.done(); });
  });
  count_stall(edge_between(move.from, move.to), start, hierarchy_.now());
  try {
    run_ahead();
  } catch (...) {
    let_go(wants, tier);
    throw;
  }
  return true;
}

void Residency::finish_bringing(std::span<const Want> wants, Tier tier) {
  try {
    for (const Want& want : wants) await(want.resident, tier, want.access);
    for (const Want& want : wants) want.resident->on(tier).block.begin_use();
  } catch (...) {
    let_go(wants, tier);
    throw;
  }
}

void Residency::let_go(std::span<const Want> wants, Tier tier) {
  for (const Want& want : wants) {
    give_up_overwrite(want.resident, tier);
    unpin(want.resident, tier);
  }
}

// Brings what an operator uses to where it leaves room in one place for what the operator will ask for: that room is
// taken first. Where this fails, or no room is asked for, all leave and come again, side by side.
void Residency::bring_around(std::uint64_t room_bytes, std::span<const Want> wants, Tier tier) {
  const auto pin_all = [&] {
    for (const Want& want : wants) pin(want.resident, tier);
  };
  if (room_bytes > 0) try {
      const WithoutExcess strict(measuring_);
      chunk::Block room = take_room(room_bytes, tier, chunk::TierPool::End::kHigh, PageLocked::kNever);
      room.end_use(nullptr);  // nobody uses it
      pin_all();
      return bring(wants, tier);
    } catch (const OutOfMemory&) {
    }
  {
    const WithoutExcess strict(measuring_);
    for (std::size_t at = 0; at < residents_.size(); ++at) {
      Resident* resident = residents_[at].get();
      if (!resident->on(tier).block || resident->on(tier).pins > 0) continue;
      if (resident->move) finish_move(resident);
      if (depart(resident, tier) && resident->move) vacate(resident);
    }
  }
  pin_all();
  bring(wants, tier);
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
  const bool is_computed = tier == hierarchy_.compute_tier();
  const auto end = is_computed ? hierarchy_.end_of_uses() : std::nullopt;  // one for all of them
  for (const Want& want : wants) {
    if (want.access != Access::kRead) invalidate_others(want.resident, tier);  // read elsewhere since, written here
    Copy& copy = want.resident->on(tier);
    if (end && copy.pins == 1) copy.block.end_use(*end);
    unpin(want.resident, tier);
  }
}

bool Residency::is_pinned(const Resident* resident) const {
  const Lock lock(mutex_);
  return resident->is_pinned();
}

bool Residency::is_pinned(const Resident* resident, Tier tier) const {
  const Lock lock(mutex_);
  return resident->on(tier).pins > 0;
}

void Residency::pin(Resident* resident, Tier tier) {
  if (resident->on(tier).pins++ == 0) books_.pin(*resident, tier);
}

void Residency::unpin(Resident* resident, Tier tier) noexcept {
  if (--resident->on(tier).pins > 0) return;
  books_.unpin(*resident, tier);
  if (resident->dying && !resident->is_pinned()) destroy(resident);
}

void Residency::touch(const Want& want, Tier tier, Traced traced) {
  want.resident->last_use = ++clock_;
  if (traced == Traced::kYes) timeline_.on_use(want.resident->key, tier, want.access);
}

// Makes the resident current or arriving on `tier`. REQUIRES: pinned there.
void Residency::start_bring(const Want& want, Tier tier) {
  Resident* resident = want.resident;
  if (auto& move = resident->move) {
    if (move->to != tier && !move->gone) stay(resident);
    if (move->gone || (move->from != tier && move->to != tier)) finish_move(resident);
  }
  const bool is_ahead = std::exchange(resident->ahead, false);
  if (resident->on(tier).state != CopyState::kAbsent) {
    stats_.prefetch_hits += is_ahead;
    return;
  }
  if (resident->blank || want.access == Access::kOverwrite) return fill_blank(want, tier);
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

// The copy of who will fill it is "arriving" without a move until claim(): the old bytes may still be needed, and a
// blank one's are not zeros yet.
void Residency::fill_blank(const Want& want, Tier tier) {
  Copy& copy = want.resident->on(tier);
  auto block = take_room_for(*want.resident, tier);
  if (want.access != Access::kOverwrite) block.clear(want.filled_at, want.num_filled);
  copy.block = std::move(block);
  enter(*want.resident, tier);
  if (want.access == Access::kOverwrite || want.num_filled > 0) return transition(copy.state, CopyState::kArriving);
  become_current(want.resident, tier);
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
    target.block = take_room_for(*resident, to);
    enter(*resident, to);
  } catch (...) {
    unpin(resident, from);
    throw;
  }
  unpin(resident, from);
  auto ticket = start_transfer(resident, from, to);
  ++stats_.fetches;
  start_move(resident, from, to, false, std::move(ticket));
}

// Waits for the bytes to arrive, or has the accelerator wait; a writer waits for those who read them, too, and for what
// is fetched from here.
void Residency::await(Resident* resident, Tier tier, Access access) {
  if (auto& reader = resident->on(tier).reader; access != Access::kRead && reader) wait_for_reader(*reader, tier);
  auto& move = resident->move;
  if (!move || (move->to != tier && access == Access::kRead)) return;
  if (move->ticket.done() || move->to != tier || !follow(resident)) finish_move(resident);
}

// Makes a writer's copy the only one. REQUIRES: awaited. Cannot fail.
void Residency::claim(Resident* resident, Tier tier, Access access) {
  if (access == Access::kRead) return;
  if (resident->on(tier).state == CopyState::kArriving) become_current(resident, tier);
  invalidate_others(resident, tier);
  set_blank(resident, false);
}

void Residency::invalidate_others(Resident* resident, Tier tier) {
  ++resident->version;
  if (std::exchange(resident->spent, false)) resident->foretold_in = UINT64_MAX;
  for (const Tier other : hierarchy_.levels())
    if (other != tier && resident->on(other).state == CopyState::kCurrent && resident->on(other).pins == 0)
      drop(resident, other);
}

void Residency::prefetch(Resident* resident, Tier tier) {
  const Lock lock(mutex_);
  if (!failure_) try_prefetch(resident, tier, next_use_on(tier, *resident));
}

void Residency::write_behind(Resident* resident, Tier tier) {
  const Lock lock(mutex_);
  if (!failure_) start_down(resident, tier, /*leaves=*/false);
}

// ---- books ----------------------------------------------------------------------------------------------------------

void Residency::note_need(Tier tier, std::uint64_t extra_bytes) {
  const std::uint64_t need = unmovable_bytes(tier) + books_.pinned_bytes(tier) + extra_bytes;
  need_now_[index_of(tier)] = need;
  if (tier == hierarchy_.compute_tier()) timeline_.on_need(need);
  auto& most = needs_.working_set[index_of(tier)];
  if (need <= most) return;
  most = need;
  needs_.working_set_at[index_of(tier)] = operator_name_;
}

void Residency::note_live() { timeline_.on_live(activation_bytes_ + unmovable_bytes(hierarchy_.compute_tier())); }

void Residency::note_content() {
  std::uint64_t content = content_bytes_ - (counts_blank_ ? 0 : blank_bytes_);
  for (const Tier tier : hierarchy_.levels())
    if (tier != Tier::kNvme) content += unmovable_bytes(tier);
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
  const bool was_in_pass = timeline_.in_pass();
  const std::uint64_t num_passes = timeline_.num_passes();
  use(timeline_);
  const bool is_another = timeline_.num_passes() != num_passes;
  if (is_scripting() && was_in_pass && (is_another || !timeline_.in_pass())) script_->add({PassScript::What::kEndPass});
  if (is_scripting() && is_another) script_->add({PassScript::What::kBeginPass});
  if (!timeline_.in_pass()) step_clock_.stop(step_clock_now());
}

void Residency::begin_operator(const char* name, std::uint64_t operator_hash) {
  const Lock lock(mutex_);
  finish_followed(/*waits=*/false);
  let_go_of_used();
  operator_name_ = name;
  begin_operator_room(operator_hash);
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
  note_live();
}

// What the operator before asked for is known by now.
void Residency::begin_operator_room(std::uint64_t operator_hash) {
  const Tier tier = hierarchy_.compute_tier();
  if (!hierarchy_.pool(tier).is_one_piece()) return;
  OperatorRoom& room = operator_room_;
  // What comes and goes may leave gaps: up to a quarter more, but never more than was asked for in all.
  const std::uint64_t bytes = std::min(room.taken, room.most + room.most / 4);
  if (operator_rooms_.size() > kMostOperatorRooms) operator_rooms_.clear();
  auto& known = operator_rooms_[room.hash];
  known = std::max(known, bytes);
  largest_operator_room_ = std::max(largest_operator_room_, bytes);
  room = {operator_hash, unmovable_bytes(tier), 0, 0, /*is_placed=*/false};
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

void Residency::begin_update(std::uint64_t signature) {
  const Lock lock(mutex_);
  timeline_.begin_update(signature);
  while (!awaited_.empty()) {  // now they are used in their turn
    Resident* list = awaited_.back();
    stop_awaiting(list);
    expect_again(*list, Tier::kCpu);
  }
}

Tier Residency::begin_chunk(std::uint32_t place, std::span<const Want> wants, Tier tier) {
  catch_up_with(wants);
  {
    const Lock lock(mutex_);
    if (script_) step_clock_.begin_update(*script_, place, step_clock_now());
    const bool is_above = tier != Tier::kCpu && can_pin(wants, tier);
    timeline_.on_operator(hash_of_update(place, is_above ? tier : Tier::kCpu));
    if (recorder_) recorder_->next_moment();
    if (is_above && try_acquire(wants, tier)) return tier;
  }
  acquire(wants, Tier::kCpu);
  return Tier::kCpu;
}

void Residency::end_chunk(std::span<const Want> wants, Tier tier) noexcept {
  release(wants, tier);
  const Lock lock(mutex_);
  for (const Want& want : wants) spend(want);
}

void Residency::spend(const Want& want) {
  want.resident->spent = want.access == Access::kRead;
  want.resident->foretold_in = UINT64_MAX;
}

// What it used ahead counts as used now: so it is foretold, too, where this update is recorded anew.
void Residency::pass_chunk(std::uint32_t place, std::span<const Want> wants, Tier tier) {
  const Lock lock(mutex_);
  step_clock_.stop(step_clock_now());
  timeline_.on_operator(hash_of_update(place, tier));
  for (const Want& want : wants) timeline_.on_use(want.resident->key, tier, want.access);
  if (recorder_) recorder_->next_moment();
  run_ahead();
}

bool Residency::is_update_next(std::uint64_t signature) const {
  const Lock lock(mutex_);
  return timeline_.is_update_next(signature);
}

void Residency::note_ready(const Resident* param) {
  const Lock lock(mutex_);
  if (is_scripting()) script_->add(PassScript::What::kReady, *param);
}

void Residency::note_update_in_pass(std::uint32_t place, std::uint64_t ns) {
  const Lock lock(mutex_);
  stalled_ns_ += ns;
  if (script_ && place < script_->updates.size()) script_->updates[place].measure(ns);
}

void Residency::end_update() {
  const Lock lock(mutex_);
  timeline_.end_update();
  run_ahead();
}

}  // namespace asterias::evict
