#include "evict/simulated_books.hpp"

namespace asterias::evict {
namespace {

std::uint64_t& of(ContentBytes& bytes, ContentKind kind) { return bytes[static_cast<std::size_t>(kind)]; }

}  // namespace

void SimulatedBooks::enter(ContentKind kind, std::uint64_t bytes, Tier tier) {
  OnTier& on = at(tier);
  on.resident += bytes;
  of(on.by_kind, kind) += bytes;
  on.peak_activations = std::max(on.peak_activations, of(on.by_kind, ContentKind::kActivation));
  note_peak(on);
}

void SimulatedBooks::leave(ContentKind kind, std::uint64_t bytes, Tier tier) {
  at(tier).resident -= bytes;
  of(at(tier).by_kind, kind) -= bytes;
}

// As Books::adopt has it.
void SimulatedBooks::adopt(ContentKind kind, std::uint64_t bytes, Tier tier) {
  OnTier& on = at(tier);
  on.unmovable -= std::min(on.unmovable, bytes);
  enter(kind, bytes, tier);
  if (on.peak_operator != operator_) return;
  const std::uint64_t made = std::min(bytes, of(on.peak_content, ContentKind::kOther));
  of(on.peak_content, ContentKind::kOther) -= made;
  of(on.peak_content, ContentKind::kActivation) += made;
}

void SimulatedBooks::set_unmovable(Tier tier, std::uint64_t bytes) {
  at(tier).unmovable = bytes;
  note_peak(at(tier));
}

void SimulatedBooks::reset_peaks() {
  for (auto& on : tiers_) {
    on.peak = 0;
    on.peak_activations = of(on.by_kind, ContentKind::kActivation);
  }
}

void SimulatedBooks::note_peak(OnTier& on) {
  const std::uint64_t used = on.resident + on.unmovable;
  if (used <= on.peak) return;
  on.peak = used;
  on.peak_operator = operator_;
  on.peak_content = on.by_kind;
  of(on.peak_content, ContentKind::kOther) = on.unmovable;
}

}  // namespace asterias::evict
