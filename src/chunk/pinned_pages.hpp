// The blocks of a pool that are pinned for an accelerator's copies (device/host_pinner.hpp): counts all, and keeps
// those that are free.
//
// A block is pinned once, when it is first copied, and then stays so through all its owners: a step that repeats pins
// nothing. Its pages cannot be cut, joined or moved to another address meanwhile, as those of PageCache are, so a free
// block serves requests of exactly its size. Where its room is wanted for anything else it is unpinned, and its pages
// are like all others again: pinning costs no request its room.
//
// A block is given back only when no copy uses it any more: evict::Residency ends a move, or lets the block linger
// (Copy::reader), before it lets go.
//
// Invariants
//   * pinned_bytes() <= the limit, and idle_bytes() <= pinned_bytes().
//   * pinned_bytes() is at most twice what was ever in use at once, so sizes that come no more do not pile up.
//   * Of free blocks the one that has been idle longest goes first, and of those of one size the last comes first: what
//     nobody takes any more goes before what a step takes again.
//   * After a refusal nothing more is tried.
//
// Threading: thread-compatible; the pool's lock covers it. Units: bytes, multiples of device::kPageBytes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "base/node_pool.hpp"
#include "chunk/page_cache.hpp"
#include "device/host_pinner.hpp"
#include "device/page_block.hpp"

namespace asterias::chunk {

class PinnedPages {
 public:
  PinnedPages(std::shared_ptr<device::HostPinner> pinner, std::uint64_t limit_bytes);
  PinnedPages(const PinnedPages&) = delete;
  PinnedPages& operator=(const PinnedPages&) = delete;
  ~PinnedPages();  // REQUIRES: none is in use

  // Pins a block that is in use; idle ones that this passes the bounds with are unpinned and go to `plain`. False where
  // the limit or the pinner refuses.
  bool pin(const device::PageBlock& block, PageCache& plain);
  // Unpins a block that is in use.
  void unpin(const device::PageBlock& block) noexcept;

  // Keeps a pinned block that is free now.
  void put(device::PageBlock block);
  // Says whether there is a free block of exactly that size.
  bool has(std::uint64_t bytes) const { return find(bytes).has_value(); }
  // Takes one, the last that was put. Empty when there is none.
  std::optional<device::PageBlock> take(std::uint64_t bytes);
  // Unpins the block that has been idle longest and hands it out. REQUIRES: idle_bytes() > 0.
  device::PageBlock unpin_oldest();

  std::uint64_t idle_bytes() const { return idle_bytes_; }
  std::uint64_t pinned_bytes() const { return pinned_bytes_; }  // in use and idle

 private:
  std::optional<std::uint64_t> find(std::uint64_t bytes) const;
  device::PageBlock remove(std::uint64_t turn);

  const std::shared_ptr<device::HostPinner> pinner_;
  const std::uint64_t limit_bytes_;
  bool is_refused_ = false;
  std::uint64_t pinned_bytes_ = 0;
  std::uint64_t idle_bytes_ = 0;
  std::uint64_t most_in_use_ = 0;
  std::uint64_t turn_ = 0;
  std::pmr::map<std::uint64_t, device::PageBlock> idle_{node_pool()};            // by turn of being put
  std::pmr::set<std::pair<std::uint64_t, std::uint64_t>> by_size_{node_pool()};  // bytes, turn
};

}  // namespace asterias::chunk
