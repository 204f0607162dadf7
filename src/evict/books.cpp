#include "evict/books.hpp"

#include <algorithm>

namespace asterias::evict {
namespace {

std::uint64_t& of(ContentBytes& bytes, ContentKind kind) { return bytes[static_cast<std::size_t>(kind)]; }

}  // namespace

void Books::enter(const Resident& resident, Tier tier) {
  resident_[index_of(tier)] += resident.bytes;
  of(by_kind_[index_of(tier)], resident.kind_in_books()) += resident.bytes;
  auto& most_activations = peak_activations_[index_of(tier)];
  most_activations = std::max(most_activations, activation_bytes(tier));
  note_peak(tier);
}

void Books::leave(const Resident& resident, Tier tier) {
  resident_[index_of(tier)] -= resident.bytes;
  of(by_kind_[index_of(tier)], resident.kind_in_books()) -= resident.bytes;
}

// An operator's fullest moment usually comes while its outputs are still plain blocks: they count as what they become.
void Books::adopt(const Resident& resident, Tier tier) {
  enter(resident, tier);
  Peak& peak = peaks_[index_of(tier)];
  if (peak.in_operator != operator_) return;
  const std::uint64_t made = std::min(resident.bytes, of(peak.content, ContentKind::kOther));
  of(peak.content, ContentKind::kOther) -= made;
  of(peak.content, ContentKind::kActivation) += made;
}

void Books::count_as_gradient(const Resident& resident, Tier tier) {
  of(by_kind_[index_of(tier)], ContentKind::kActivation) -= resident.bytes;
  of(by_kind_[index_of(tier)], ContentKind::kGrad) += resident.bytes;
}

std::uint64_t Books::activation_bytes(Tier tier) const {
  return by_kind_[index_of(tier)][static_cast<std::size_t>(ContentKind::kActivation)];
}

std::uint64_t Books::held_bytes(Tier tier) const {
  return tier == Tier::kNvme ? hierarchy_.swap().used_bytes() : hierarchy_.pool(tier).held_bytes();
}

std::uint64_t Books::peak_held_bytes(Tier tier) const {
  return tier == Tier::kNvme ? hierarchy_.swap().peak_used_bytes() : hierarchy_.pool(tier).peak_held_bytes();
}

void Books::note_peak(Tier tier) {
  Peak& peak = peaks_[index_of(tier)];
  const std::uint64_t held = held_bytes(tier);
  if (held <= peak.held_bytes) return;
  peak = {held, operator_, content(tier)};
}

std::uint64_t Books::unmovable_bytes(Tier tier) const {
  const std::uint64_t used = hierarchy_.pool(tier).used_bytes();
  const std::uint64_t movable = resident_bytes(tier);
  return used > movable ? used - movable : 0;
}

ContentBytes Books::content(Tier tier) const {
  ContentBytes content = by_kind_[index_of(tier)];
  if (tier == Tier::kNvme) return content;
  of(content, ContentKind::kOther) = unmovable_bytes(tier);
  of(content, ContentKind::kLibraries) = hierarchy_.pool(tier).library_bytes();
  return content;
}

// What the pool knows of and nobody told us: the libraries were measured larger just before something left.
ContentBytes Books::peak_content(Tier tier) {
  note_peak(tier);
  ContentBytes content = peaks_[index_of(tier)].content;
  const std::uint64_t known = sum_of(content), held = peak_held_bytes(tier);
  of(content, tier == Tier::kCpu ? ContentKind::kLibraries : ContentKind::kOther) += held - std::min(held, known);
  return content;
}

void Books::reset_peak(Tier tier) {
  if (tier == Tier::kNvme)
    hierarchy_.swap().reset_peak();
  else
    hierarchy_.pool(tier).reset_peak();
  peaks_[index_of(tier)] = {held_bytes(tier), operator_, content(tier)};
  peak_activations_[index_of(tier)] = activation_bytes(tier);
}

}  // namespace asterias::evict
