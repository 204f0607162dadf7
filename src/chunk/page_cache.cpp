#include "chunk/page_cache.hpp"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

namespace asterias::chunk {

device::PageBlock PageCache::remove(Ranges::iterator range) {
  device::PageBlock block = std::move(range->second);
  by_size_.erase({block.bytes(), block.data()});
  bytes_ -= block.bytes();
  ranges_.erase(range);
  return block;
}

device::PageBlock PageCache::remove_longest() { return remove(ranges_.find(std::prev(by_size_.end())->second)); }

void PageCache::insert(device::PageBlock block) {
  bytes_ += block.bytes();
  by_size_.emplace(block.bytes(), block.data());
  ranges_.emplace(block.data(), std::move(block));
}

void PageCache::put(device::PageBlock block) {
  if (!block) return;
  const auto after = ranges_.lower_bound(block.data());
  if (after != ranges_.end() && block.can_join(after->second)) block.join(remove(after));
  const auto next = ranges_.lower_bound(block.data());
  if (next != ranges_.begin() && std::prev(next)->second.can_join(block)) {
    device::PageBlock before = remove(std::prev(next));
    before.join(std::move(block));
    block = std::move(before);
  }
  insert(std::move(block));
}

bool PageCache::has(std::uint64_t bytes) const {
  const auto smallest = by_size_.lower_bound({bytes, nullptr});
  return smallest != by_size_.end() && smallest->first == bytes;
}

std::optional<device::PageBlock> PageCache::take(std::uint64_t bytes) {
  const auto smallest = by_size_.lower_bound({bytes, nullptr});
  if (smallest == by_size_.end()) return gather(bytes);
  device::PageBlock block = remove(ranges_.find(smallest->second));
  if (block.bytes() > bytes) insert(block.cut(bytes));
  return block;
}

// Of the longest ranges, so that there are few. What many seams run through goes back to the system some time.
std::optional<device::PageBlock> PageCache::gather(std::uint64_t bytes) {
  if (bytes > bytes_ || device::PageBlock::num_seams() > kMostSeams) return std::nullopt;
  std::pmr::vector<device::PageBlock> pieces{node_pool()};
  for (std::uint64_t missing = bytes; missing > 0; missing -= pieces.back().bytes()) {
    pieces.push_back(remove_longest());
    if (pieces.back().bytes() > missing) insert(pieces.back().cut(missing));
  }
  return device::PageBlock::gather(std::move(pieces));
}

void PageCache::give_back(std::uint64_t bytes) {
  const std::uint64_t least = bytes_ - std::min(bytes, bytes_);
  while (bytes_ > least) {
    device::PageBlock longest = remove_longest();
    const std::uint64_t kept = bytes_ >= least ? 0 : (least - bytes_) / device::kPageBytes * device::kPageBytes;
    if (kept == 0) continue;
    const device::PageBlock rest = longest.cut(kept);
    insert(std::move(longest));
  }
}

void PageCache::clear() {
  by_size_.clear();
  ranges_.clear();
  bytes_ = 0;
}

}  // namespace asterias::chunk
