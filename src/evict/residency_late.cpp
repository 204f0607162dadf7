// Residency's late updates: what step() has put off, until somebody needs it.
#include <algorithm>
#include <utility>

#include "evict/residency.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

Resident* param_of(const LateUpdate& update) {
  for (const Want& want : update.lists())
    if (want.resident->list == chunk::ListKind::kParam) return want.resident;
  return nullptr;
}

bool is_held(const LateUpdate& update) {
  const auto lists = update.lists();
  return std::any_of(lists.begin(), lists.end(), [](const Want& want) { return want.resident->is_pinned(); });
}

}  // namespace

bool Residency::put_off(LateUpdate& update) {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  const Lock lock(mutex_);
  if (failure_ || look_ahead_ == 0 || !first_use_of(update)) return false;
  finish_done();
  if (is_held(update) || is_all_there(update) || !has_room_for_late(update)) return false;
  late_.push_back(&update);
  ++num_late_;
  set_late(update, true);
  for (const Want& want : update.lists())
    if (want.access == Access::kOverwrite) {  // what nobody will read takes no room meanwhile
      drop_all(want.resident);
      set_blank(want.resident, true);
    }
  return true;
}

// Says that the update would wait for nothing but room. REQUIRES: nothing is pinned.
bool Residency::is_all_there(const LateUpdate& update) const {
  return std::all_of(update.lists().begin(), update.lists().end(), [](const Want& want) {
    const Resident& list = *want.resident;
    const Copy& copy = list.on(Tier::kCpu);
    if (list.move || (copy.reader && !copy.reader->done())) return false;
    return want.access == Access::kOverwrite || list.blank || copy.is_readable();
  });
}

// When budgets were judged, gradients were gone when forward began, and the update had the memory to itself. What lies
// on the cpu tier cannot make room by going up.
bool Residency::has_room_for_late(const LateUpdate& update) const {
  std::uint64_t wanted = needs_.content + late_gradient_bytes_;
  for (const Want& want : update.lists()) wanted += 2 * want.resident->bytes;
  for (const Tier tier : hierarchy_.levels()) {
    if (tier == Tier::kGpu) continue;
    const std::uint64_t limit = hierarchy_.limit_bytes(tier);
    if (limit == chunk::TierPool::kUnlimited) return true;
    const std::uint64_t foreign = tier == Tier::kNvme ? 0 : hierarchy_.pool(tier).foreign_bytes();
    const std::uint64_t kept = foreign + needs_.largest_resident;
    wanted -= std::min(wanted, limit - std::min(limit, kept));
  }
  return wanted == 0;
}

// Nobody may point at old bytes of what it writes. Running ahead may have passed over what is used next now.
void Residency::set_late(LateUpdate& update, bool late) {
  for (const Want& want : update.lists()) {
    Resident& list = *want.resident;
    list.late = late ? &update : nullptr;
    list.foretold_in = UINT64_MAX;
    if (list.list == chunk::ListKind::kGrad) late_gradient_bytes_ += late ? list.bytes : -list.bytes;
    if (list.is_there_to_stay(hierarchy_.compute_tier())) show(&list);
  }
  if (const auto use = first_use_of(update); use && late)
    for (auto& cursor : ahead_) timeline_.go_back(cursor, use->at);
}

// Of its parameters, after the update that it has been put off from.
std::optional<Use> Residency::first_use_of(const LateUpdate& update) const {
  const TraceKey param = param_of(update)->key;
  return timeline_.in_pass() ? timeline_.next_use(param) : timeline_.use_after_update(param);
}

// The chunk's lists are used when its parameters are.
std::optional<Use> Residency::use_of_late(const Resident& resident) const {
  const auto use = first_use_of(*resident.late);
  if (!use) return std::nullopt;
  return Use{use->at, resident.key, Tier::kCpu, Access::kWrite};
}

// On the compute tier it is passed over, see fetch_for.
Residency::Ahead Residency::fetch_for_late(const LateUpdate& update, Moment used_at, Tier tier,
                                           std::uint64_t& owed_bytes) {
  if (tier != Tier::kCpu) {
    owe_room(*param_of(update), tier, owed_bytes);
    return Ahead::kNotYet;
  }
  for (const Want& want : update.lists()) {
    if (want.access == Access::kOverwrite) continue;
    const Use use{used_at, want.resident->key, Tier::kCpu, want.access};
    if (fetch_list(*want.resident, use, tier, owed_bytes) == Ahead::kBlocked) return Ahead::kBlocked;
  }
  return Ahead::kDone;
}

void Residency::catch_up_with(std::span<const Want> wants) {
  if (num_late_ == 0) return;
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  for (const Want& want : wants)
    if (LateUpdate* late = want.resident->late) catch_up(*late);
}

// Late until its lists are there: or running ahead would take old parameters up meanwhile.
void Residency::catch_up(LateUpdate& update) {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  if (!is_late(update)) return;
  acquire_now(update.lists(), Tier::kCpu, Traced::kNo);
  stop_being_late(update);
  update.compute();
  end_chunk(update.lists(), Tier::kCpu);
  forget_spent(update);
  --num_late_;
}

// Those whose lists have come: their parameters go up next. What fails is late still, and fails whoever needs it.
// REQUIRES: `wants` are pinned.
void Residency::catch_up_while_waiting_for(std::span<const Want> wants, Tier tier) noexcept {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  try {
    for (std::size_t at = 0; at < late_.size() && are_on_their_way(wants, tier);)
      if (!try_catch_up(*late_[at])) ++at;
  } catch (const std::exception&) {
  }
}

// Says whether the host would wait. Who overwrites has nothing yet that another thread might see.
bool Residency::are_on_their_way(std::span<const Want> wants, Tier tier) const {
  const Lock lock(mutex_);
  const auto overwrites = [](const Want& want) { return !want.resident->late && want.access == Access::kOverwrite; };
  if (std::any_of(wants.begin(), wants.end(), overwrites)) return false;
  return std::any_of(wants.begin(), wants.end(), [&](const Want& want) { return is_coming(want, tier); });
}

bool Residency::is_late(const LateUpdate& update) const {
  return std::find(late_.begin(), late_.end(), &update) != late_.end();
}

void Residency::stop_being_late(LateUpdate& update) {
  std::erase(late_, &update);
  const Lock lock(mutex_);
  set_late(update, false);
}

// REQUIRES: late_mutex_, under which forget() asks for it.
void Residency::forget_spent(const LateUpdate& update) {
  for (const Want& want : update.lists())
    if (std::exchange(want.resident->forgets_late, false)) forget(want.resident);
}

bool Residency::try_catch_up(LateUpdate& update) {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  if (!is_late(update)) return false;
  {
    const Lock lock(mutex_);
    if (failure_) return false;
    finish_done();
    const auto use = first_use_of(update);
    if (!use || is_held(update) || !is_all_there(update)) return false;
    std::uint64_t bytes = 0;
    for (const Want& want : update.lists())
      if (want.resident->on(Tier::kCpu).state == CopyState::kAbsent) bytes += want.resident->bytes;
    if (bytes > 0 && !drop_clean_for(bytes, Tier::kCpu, use->at)) return false;
  }
  catch_up(update);
  return true;
}

void Residency::give_up(LateUpdate& update) noexcept {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  if (!is_late(update)) return;
  stop_being_late(update);
  const Lock lock(mutex_);
  for (const Want& want : update.lists()) want.resident->forgets_late = false;
  --num_late_;
}

}  // namespace asterias::evict
