// Freed pages that a pool keeps for its next blocks: to map pages anew costs the kernel zeroing them, a third of what a
// step costs that lives on a few of its chunks.
//
// A block is cut off the smallest free range that holds it, and comes together again with what it was cut off from when
// both are free. Where no range holds it, pages of several are moved to addresses in a row. Ranges of different
// mappings never meet: mappings start at differing offsets within a huge page (device/page_block.cpp), which what is
// cut from one long range would not.
//
// Invariants
//   * bytes() is the sum of the free ranges, of which no two that touch are of one mapping.
//   * What is taken has what its last owner left in it.
//
// Threading: thread-compatible; the pool's lock covers it. Units: bytes, multiples of device::kPageBytes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/node_pool.hpp"
#include "device/page_block.hpp"

namespace asterias::chunk {

class PageCache {
 public:
  void put(device::PageBlock block);
  // Says whether a free range has exactly that length.
  bool has(std::uint64_t bytes) const;
  // Takes a block of exactly `bytes` (> 0); empty when fewer are free, or when the kernel's mappings would become too
  // many.
  std::optional<device::PageBlock> take(std::uint64_t bytes);
  // Gives at least `bytes` back to the system, or all there is, the longest ranges first.
  void give_back(std::uint64_t bytes);
  void clear();
  std::uint64_t bytes() const { return bytes_; }

 private:
  static constexpr std::uint64_t kMostSeams = 16384;  // a quarter of what a process may have

  using Ranges = std::pmr::map<std::byte*, device::PageBlock>;  // by address

  device::PageBlock remove(Ranges::iterator range);
  device::PageBlock remove_longest();  // REQUIRES: there is one
  void insert(device::PageBlock block);
  std::optional<device::PageBlock> gather(std::uint64_t bytes);

  Ranges ranges_{node_pool()};
  std::pmr::set<std::pair<std::uint64_t, std::byte*>> by_size_{node_pool()};
  std::uint64_t bytes_ = 0;
};

}  // namespace asterias::chunk
