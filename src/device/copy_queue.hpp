// The way from one memory tier to another: copies go over it one after another.
//
// The simulated accelerator's link is a thread (copy_stream.hpp), the simulator's has no bytes at all
// (evict/hollow_tiers.hpp).
//
// Invariants: copies that nobody waits for (Ticket::hurry) end in the order of submission. One that somebody waits for
// may pass them, so who copies on what a copy brings waits for it first.
// Threading: thread-safe. Units: bytes.
#pragma once

#include <cstddef>

#include "device/ticket.hpp"

namespace asterias::device {

class CopyQueue {
 public:
  CopyQueue() = default;
  CopyQueue(const CopyQueue&) = delete;
  CopyQueue& operator=(const CopyQueue&) = delete;
  virtual ~CopyQueue() = default;  // completes what was submitted

  // Enqueues a copy and returns at once. Both ranges must stay valid, and `from` unchanged, until the ticket is done.
  virtual Ticket copy(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
};

}  // namespace asterias::device
