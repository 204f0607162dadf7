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

}  // namespace

bool Residency::put_off(LateUpdate& update) {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  const Lock lock(mutex_);
  if (failure_ || look_ahead_ == 0 || !first_use_of(update)) return false;
  finish_done();
  for (const Want& want : update.lists())
    if (want.resident->is_pinned()) return false;
  if (is_all_there(update) || !has_room_for_late(update)) return false;
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

// On the compute tier its room is left free, see fetch_for.
Residency::Ahead Residency::fetch_for_late(const LateUpdate& update, Moment used_at, Tier tier,
                                           std::uint64_t& owed_bytes) {
  if (tier != Tier::kCpu) {
    Resident* param = param_of(update);
    if (std::exchange(param->scanned_in, scan_) != scan_) owed_bytes += param->bytes;
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

void Residency::catch_up(LateUpdate& update) {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  if (!stop_being_late(update)) return;
  try {
    acquire_now(update.lists(), Tier::kCpu, Traced::kNo);
  } catch (...) {
    const Lock lock(mutex_);
    set_late(update, true);
    throw;
  }
  update.compute();
  end_chunk(update.lists(), Tier::kCpu);
  forget_spent(update);
  --num_late_;
}

// False where it has been computed, or this thread is about to.
bool Residency::stop_being_late(LateUpdate& update) {
  const Lock lock(mutex_);
  if (param_of(update)->late != &update) return false;
  set_late(update, false);
  return true;
}

// REQUIRES: late_mutex_, under which forget() asks for it.
void Residency::forget_spent(const LateUpdate& update) {
  for (const Want& want : update.lists())
    if (std::exchange(want.resident->forgets_late, false)) forget(want.resident);
}

void Residency::try_catch_up(LateUpdate& update) {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  {
    const Lock lock(mutex_);
    if (failure_ || param_of(update)->late != &update) return;
    finish_done();
    const auto use = first_use_of(update);
    if (!use || !is_all_there(update)) return;
    std::uint64_t bytes = 0;
    for (const Want& want : update.lists())
      if (want.resident->on(Tier::kCpu).state == CopyState::kAbsent) bytes += want.resident->bytes;
    if (bytes > 0 && !drop_clean_for(bytes, Tier::kCpu, use->at)) return;
  }
  catch_up(update);
}

void Residency::give_up(LateUpdate& update) noexcept {
  const std::lock_guard<std::recursive_mutex> alone(late_mutex_);
  if (!stop_being_late(update)) return;
  const Lock lock(mutex_);
  for (const Want& want : update.lists()) want.resident->forgets_late = false;
  --num_late_;
}

}  // namespace asterias::evict
