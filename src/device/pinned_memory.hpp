// Host memory that an accelerator reads and writes by itself: a mapping of our own, registered with the driver once.
//
// cudaHostAlloc lost: it rounds sizes up, and its memory shows in no count of ours; here pages are a PageBlock like all
// others, and a limit is met to the page. A registered range is never given back in parts: the driver would go on
// reading and writing the pages that it once pinned. Who lies where within is ArenaBook's.
//
// Where the driver or the system refuses to pin (ulimit -l, a container), the memory is there all the same and one log
// line says that copies take the slow way.
//
// Threading: immutable once made. Units: bytes, multiples of kPageBytes.
#pragma once

#include <cstdint>

#include "device/cuda_calls.hpp"
#include "device/page_block.hpp"

namespace asterias::device {

class PinnedMemory {
 public:
  // Maps, populates and registers `bytes`. Throws std::bad_alloc when the kernel refuses the memory itself.
  PinnedMemory(CudaCalls& calls, std::uint64_t bytes);
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  ~PinnedMemory();  // REQUIRES: no copy from or to it is under way

  std::byte* data() const { return pages_.data(); }
  std::uint64_t bytes() const { return pages_.bytes(); }
  bool is_pinned() const { return is_pinned_; }

 private:
  CudaCalls& calls_;
  const PageBlock pages_;
  bool is_pinned_ = false;
};

}  // namespace asterias::device
