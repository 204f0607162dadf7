// Page-locks host memory for an accelerator, which then copies from and to it by itself while the host goes on.
//
// Memory that is not pinned can be copied as well: slower, and the host may wait. So whoever is refused goes on
// without. Pinning takes about as long as copying does, and may wait for the accelerator: it is for memory that is used
// over and over (chunk/pinned_pages.hpp).
//
// Invariants
//   * What is pinned is pinned as a whole: a copy's host memory lies in one pinned range, or in none.
//   * Pages of a pinned range are neither moved nor given back before unpin(): the accelerator would go on using those
//     that were there.
//
// Threading: thread-safe. Units: bytes, multiples of kPageBytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace asterias::device {

class HostPinner {
 public:
  HostPinner() = default;
  HostPinner(const HostPinner&) = delete;
  HostPinner& operator=(const HostPinner&) = delete;
  virtual ~HostPinner() = default;

  // Pins `bytes` (> 0) at `memory`. False, with a line in the log, where system or accelerator refuse.
  virtual bool pin(std::byte* memory, std::uint64_t bytes) = 0;

  // Takes back what pin() did. REQUIRES: the same range, and no copy from or to it under way.
  virtual void unpin(std::byte* memory, std::uint64_t bytes) noexcept = 0;
};

}  // namespace asterias::device
