// Host memory that is pinned from the start and for good: what benchmarks and tests copy from and to.
//
// The runtime's own blocks are pinned when they are first copied (chunk/pinned_pages.hpp).
//
// Threading: immutable once made. Units: bytes, multiples of kPageBytes.
#pragma once

#include <cstdint>
#include <memory>

#include "device/host_pinner.hpp"
#include "device/page_block.hpp"

namespace asterias::device {

class PinnedMemory {
 public:
  // Maps, populates and pins `bytes`. Throws std::bad_alloc when the kernel refuses the memory itself.
  PinnedMemory(std::shared_ptr<HostPinner> pinner, std::uint64_t bytes);
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory();  // REQUIRES: no copy from or to it is under way

  std::byte* data() const { return pages_.data(); }
  std::uint64_t bytes() const { return pages_.bytes(); }
  bool is_pinned() const { return is_pinned_; }

 private:
  const std::shared_ptr<HostPinner> pinner_;
  const PageBlock pages_;
  const bool is_pinned_;
};

}  // namespace asterias::device
