#include "chunk/pinned_pages.hpp"

#include <algorithm>
#include <iterator>

namespace asterias::chunk {

PinnedPages::PinnedPages(std::shared_ptr<device::HostPinner> pinner, std::uint64_t limit_bytes)
    : pinner_(std::move(pinner)), limit_bytes_(limit_bytes) {}

PinnedPages::~PinnedPages() {
  while (idle_bytes_ > 0) unpin_oldest();
}

bool PinnedPages::pin(const device::PageBlock& block, PageCache& plain) {
  const std::uint64_t in_use = pinned_bytes_ - idle_bytes_ + block.bytes();
  if (is_refused_ || in_use > limit_bytes_) return false;
  const std::uint64_t most_in_use = std::max(most_in_use_, in_use);
  const std::uint64_t most = std::min(limit_bytes_, 2 * most_in_use);
  while (pinned_bytes_ + block.bytes() > most) plain.put(unpin_oldest());
  is_refused_ = !pinner_->pin(block.data(), block.bytes());
  if (is_refused_) return false;
  pinned_bytes_ += block.bytes();
  most_in_use_ = most_in_use;
  return true;
}

void PinnedPages::unpin(const device::PageBlock& block) noexcept {
  pinner_->unpin(block.data(), block.bytes());
  pinned_bytes_ -= block.bytes();
}

void PinnedPages::put(device::PageBlock block) {
  idle_bytes_ += block.bytes();
  by_size_.emplace(block.bytes(), ++turn_);
  idle_.emplace(turn_, std::move(block));
}

std::optional<std::uint64_t> PinnedPages::find(std::uint64_t bytes) const {
  const auto behind = by_size_.upper_bound({bytes, UINT64_MAX});
  if (behind == by_size_.begin() || std::prev(behind)->first != bytes) return std::nullopt;
  return std::prev(behind)->second;
}

std::optional<device::PageBlock> PinnedPages::take(std::uint64_t bytes) {
  const auto turn = find(bytes);
  return turn ? std::optional(remove(*turn)) : std::nullopt;
}

device::PageBlock PinnedPages::unpin_oldest() {
  device::PageBlock block = remove(idle_.begin()->first);
  unpin(block);
  return block;
}

device::PageBlock PinnedPages::remove(std::uint64_t turn) {
  const auto at = idle_.find(turn);
  device::PageBlock block = std::move(at->second);
  idle_.erase(at);
  by_size_.erase({block.bytes(), turn});
  idle_bytes_ -= block.bytes();
  return block;
}

}  // namespace asterias::chunk
