// Copies between two memory tiers, in order.
//
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
