// Residency's shadows: payloads that take their residents' places at once, or never.
#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "evict/residency.hpp"

namespace asterias::evict {
namespace {

using chunk::CopyState;

std::uint64_t bytes_to_shadow(std::span<const Want> wants) {
  std::uint64_t bytes = 0;
  for (const Want& want : wants)
    if (want.access != Access::kRead) bytes += want.resident->bytes;
  return bytes;
}

}  // namespace

bool Residency::await_for_shadows(std::span<const Want> wants) {
  const Lock lock(mutex_);
  const auto is_blank = [](const Want& want) { return want.resident->blank; };
  const auto is_away = [&](const Want& want) {
    const Resident& list = *want.resident;
    return want.access != Access::kOverwrite && !is_here(list, Tier::kCpu) && !is_above(list, Tier::kCpu);
  };
  if (std::any_of(wants.begin(), wants.end(), is_blank)) return false;
  if (std::none_of(wants.begin(), wants.end(), is_away)) return false;
  const auto& pool = hierarchy_.pool(Tier::kCpu);
  std::uint64_t bytes = unmovable_bytes(Tier::kCpu) + books_.pinned_bytes(Tier::kCpu) + pool.foreign_bytes();
  for (const Want& want : wants) bytes += want.resident->bytes;
  if (bytes + bytes_to_shadow(wants) + needs_.largest_resident > pool.limit_bytes()) return false;
  std::uint64_t bytes_awaited = 0;  // gradients, which get no shadows, among them
  for (const Resident* list : awaited_) bytes_awaited += list->bytes;
  if (!may_shadow(bytes_awaited + bytes_to_shadow(wants))) return false;
  for (const Want& want : wants)
    if (want.access != Access::kOverwrite && !std::exchange(want.resident->awaited, true))
      awaited_.push_back(want.resident);
  return true;
}

void Residency::stop_awaiting(Resident* list) {
  if (!std::exchange(list->awaited, false)) return;
  list->foretold_in = UINT64_MAX;
  std::erase(awaited_, list);
}

Residency::Shadowing Residency::try_shadow(std::span<const Want> wants) {
  const Lock lock(mutex_);
  if (failure_) return Shadowing::kNotThere;
  finish_done();
  if (!std::all_of(wants.begin(), wants.end(), [&](const Want& want) { return can_be_shadowed(want); }))
    return Shadowing::kNotThere;
  if (!may_shadow(bytes_to_shadow(wants))) return Shadowing::kNotThere;
  // What is awaited has come for this, or its way would have been for nothing: its shadows go before what is used
  // later.
  const bool is_awaited = std::any_of(wants.begin(), wants.end(), [](auto& want) { return want.resident->awaited; });
  if (is_awaited && !drop_clean_for(bytes_to_shadow(wants), Tier::kCpu, timeline_.now() + 1)) return Shadowing::kNoRoom;
  for (const Want& want : wants)
    if (want.access != Access::kOverwrite) pin(want.resident, Tier::kCpu);
  const auto add = [&](const Want& want) { return want.access == Access::kRead || add_shadow(want.resident); };
  if (std::all_of(wants.begin(), wants.end(), add)) {
    for (const Want& want : wants) stop_awaiting(want.resident);
    return Shadowing::kDone;
  }
  for (const Want& want : wants) {
    if (want.access != Access::kOverwrite) unpin(want.resident, Tier::kCpu);
    if (Resident* shadow = want.resident->shadow) {
      unpin(shadow, Tier::kCpu);
      destroy(shadow);
    }
  }
  return Shadowing::kNoRoom;
}

// Blank state has been nowhere, so its first update has nothing to hide.
bool Residency::can_be_shadowed(const Want& want) const {
  const Resident& list = *want.resident;
  if (list.is_pinned() || list.shadow || list.late) return false;
  if (want.access == Access::kOverwrite) return true;
  if (list.blank || !list.on(Tier::kCpu).is_readable()) return false;
  return true;
}

// A forecast says nothing of steps that go another way, nor does one without shadows of those that have some.
bool Residency::may_shadow(std::uint64_t bytes) const {
  const bool is_foretold = keeps_to_forecast_ && forecast_events_ > 0 && script_ && step_clock_.is_known();
  if (!is_foretold || forecast_.most_shadow_bytes == 0) return true;
  return shadow_bytes_ + bytes <= forecast_.most_shadow_bytes;
}

bool Residency::add_shadow(Resident* list) {
  const auto use = timeline_.use_after_update(list->key);
  if (!drop_clean_for(list->bytes, Tier::kCpu, use ? use->at : kNever)) return false;
  auto block = hierarchy_.pool(Tier::kCpu).try_take(list->bytes, chunk::TierPool::End::kHigh, page_locked_for(*list));
  if (!block) return false;
  Resident* shadow = add_resident(list->bytes);
  content_bytes_ -= list->bytes;
  shadow->is_chunk = true;
  shadow->crosses_link = list->crosses_link;
  shadow->list = list->list;
  shadow->number = list->number;
  shadow->update_index = list->update_index;
  shadow->shadow_of = list;
  shadow->last_use = ++clock_;
  list->shadow = shadow;
  list->foretold_in = UINT64_MAX;
  shadow_bytes_ += list->bytes;
  stats_.most_shadow_bytes = std::max(stats_.most_shadow_bytes, shadow_bytes_);
  Copy& copy = shadow->on(Tier::kCpu);
  copy.block = std::move(*block);
  enter(*shadow, Tier::kCpu);
  transition(copy.state, CopyState::kCurrent);
  pin(shadow, Tier::kCpu);
  return true;
}

void Residency::release_shadows(std::span<const Want> wants) noexcept {
  const Lock lock(mutex_);
  for (const Want& want : wants) {
    if (want.access != Access::kOverwrite) unpin(want.resident, Tier::kCpu);
    if (want.access != Access::kRead) unpin(want.resident->shadow, Tier::kCpu);
    spend(want);
  }
}

bool Residency::take_shadows(std::span<const Want> wants) {
  const Lock lock(mutex_);
  const auto can = [](const Want& want) {
    return want.access == Access::kRead || (want.resident->shadow && !want.resident->is_pinned());
  };
  if (!std::all_of(wants.begin(), wants.end(), can)) return false;
  for (const Want& want : wants)
    if (want.access != Access::kRead) take_shadow(want.resident);
  return true;
}

// The records change their copies, so whoever knows the list finds the new content in it.
void Residency::take_shadow(Resident* list) {
  Resident* shadow = list->shadow;
  drop_all(list);
  for (const Tier tier : hierarchy_.levels()) {
    Copy& copy = shadow->on(tier);
    if (copy.state == CopyState::kAbsent) continue;
    if (recorder_) recorder_->leave(*shadow, tier);
    std::swap(list->on(tier), copy);
    if (recorder_) recorder_->enter(*list, tier);
  }
  if (shadow->move) {
    list->move = std::exchange(shadow->move, std::nullopt);
    std::replace(in_flight_.begin(), in_flight_.end(), shadow, list);
  }
  list->last_use = std::max(list->last_use, shadow->last_use);
  ++list->version;
  set_blank(list, false);
  destroy(shadow);
  list->foretold_in = UINT64_MAX;
  if (list->is_there_to_stay(hierarchy_.compute_tier())) show(list);
}

void Residency::drop_shadows(std::span<const Want> wants) noexcept {
  const Lock lock(mutex_);
  for (const Want& want : wants) {
    stop_awaiting(want.resident);
    want.resident->spent = false;
    want.resident->foretold_in = UINT64_MAX;
    if (want.resident->shadow) destroy(want.resident->shadow);
  }
}

// The last resort of who needs room: what has been computed ahead is computed again.
bool Residency::drop_a_shadow(Tier tier) {
  for (const auto& resident : residents_) {
    if (!resident->shadow_of || resident->is_pinned() || resident->on(tier).state == CopyState::kAbsent) continue;
    resident->shadow_of->foretold_in = UINT64_MAX;
    destroy(resident.get());
    return true;
  }
  return false;
}

std::uint64_t Residency::version(const Resident* resident) const {
  const Lock lock(mutex_);
  return resident->version;
}

}  // namespace asterias::evict
