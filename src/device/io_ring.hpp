// A queue of transfers that the kernel carries out by itself: io_uring, as much of it as a block file needs.
//
// It knows descriptors, memory and tags, nothing of requests and blocks; RingBlockFile is its one user. An interface,
// so that a test can hold transfers back, shorten them and let them fail between the file and the kernel.
//
// Plain reads and writes of the caller's memory: registered buffers would have to be a fixed pool, and a copy into one
// costs more than the kernel's look at a few huge pages (docs/design.md, Disk). No kernel thread that polls: it would
// take a core from the update.
//
// Threading: one thread calls start() and wait(); wake() may come from any. Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace asterias::device {

class IoRing {
 public:
  struct Transfer {
    int fd;
    bool is_write;
    std::byte* memory;  // not written through when is_write
    std::uint64_t bytes;
    std::uint64_t offset;
    std::uint64_t tag;  // told again when it has ended; below UINT64_MAX
  };
  struct Ended {
    std::uint64_t tag;
    std::int64_t result;  // bytes moved, possibly fewer than asked for, or -errno
  };

  IoRing() = default;
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;
  virtual ~IoRing() = default;  // REQUIRES: nothing in flight

  // Adds a transfer to the batch that the next wait() hands to the kernel. REQUIRES: with those in flight no more than
  // the ring was opened for.
  virtual void start(const Transfer& transfer) = 0;

  // Blocks until a transfer has ended or wake() was called since the last return, and appends what has ended.
  virtual void wait(std::vector<Ended>& ended) = 0;

  virtual void wake() noexcept = 0;
};

// Opens a ring for `depth` transfers in flight. Throws std::system_error where the system allows none: EPERM (seccomp,
// kernel.io_uring_disabled), ENOSYS (no such kernel), ENOMEM (RLIMIT_MEMLOCK, before Linux 5.12), EOPNOTSUPP (before
// Linux 5.6).
std::unique_ptr<IoRing> open_io_ring(int depth);

}  // namespace asterias::device
