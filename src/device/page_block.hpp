// Whole pages straight from the kernel: what slots and large tensors are made of.
//
// Pages come populated and go back at once when the block dies, so a pool's count of mapped bytes equals its share of
// the resident set, and nothing fragments: address space is plentiful, each block has addresses of its own.
//
// Threading: a block has one owner; map/unmap are thread-safe. Units: bytes, multiples of kPageBytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <vector>

#include "base/node_pool.hpp"

namespace asterias::device {

inline constexpr std::uint64_t kPageBytes = 4096;

class PageBlock {
 public:
  PageBlock() = default;
  // Maps and populates `bytes` (a multiple of kPageBytes). Throws std::bad_alloc when the kernel refuses. Contents are
  // zero.
  explicit PageBlock(std::uint64_t bytes);
  PageBlock(PageBlock&& other) noexcept;
  PageBlock& operator=(PageBlock&& other) noexcept;
  PageBlock(const PageBlock&) = delete;
  PageBlock& operator=(const PageBlock&) = delete;
  ~PageBlock();

  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }

  // Cuts the block to its first `bytes` (of whole pages, fewer than there are) and returns the rest: two blocks of one
  // mapping, each with an owner of its own.
  PageBlock cut(std::uint64_t bytes);
  // True where `next` begins where this ends, and both are of one mapping.
  bool can_join(const PageBlock& next) const;
  // Takes `next` over. REQUIRES: can_join(next).
  void join(PageBlock next);

  // Makes one block of the pages of several, in their order and with what is in them, by moving the pages to addresses
  // in a row: no byte is copied, and none is zeroed. Throws std::bad_alloc, with the pieces gone, when the process has
  // no mappings left.
  static PageBlock gather(std::pmr::vector<PageBlock> pieces);

  // Sums all living blocks of the process. Counted before pages are populated and after they are gone, so the resident
  // set less this is never more than what others use.
  static std::uint64_t mapped_bytes();

  // Counts the places in living blocks where one of the kernel's mappings may end and another begin, up to three of a
  // large one that is new; a block that was cut off at one has it at its start, for when it is joined again. The kernel
  // gives a process 65530 mappings, unless told otherwise.
  static std::uint64_t num_seams();

 private:
  void give_back() noexcept;
  void note_seam(std::uint64_t offset);
  void forget_first_seam();
  void take_pages(PageBlock part, std::uint64_t& offset);

  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t mapping_ = 0;                           // which one, of all that were ever made
  std::pmr::vector<std::uint64_t> seams_{node_pool()};  // offsets, in order; 0 where it was cut off at one
};

}  // namespace asterias::device
