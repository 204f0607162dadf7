// Copies between two memory tiers in order, one after another, as a copy queue of an accelerator does.
//
// The simulated accelerator's link is one CopyStream per direction. With a declared bandwidth a copy is real and then
// held back until the time the declared link would have taken (deadlines on one clock, so idle time is not saved up).
//
// Invariants: tickets of one stream complete in the order of submission.
// Threading: thread-safe; one worker thread. Units: bytes, bytes per second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "device/ticket.hpp"

namespace asterias::device {

class CopyStream {
 public:
  // bytes_per_second 0: as fast as memcpy.
  explicit CopyStream(std::uint64_t bytes_per_second = 0);
  CopyStream(const CopyStream&) = delete;
  CopyStream& operator=(const CopyStream&) = delete;
  ~CopyStream();  // completes what was submitted

  // Enqueues a copy and returns at once. Both ranges must stay valid, and `from` unchanged, until the ticket is done.
  Ticket copy(std::byte* to, const std::byte* from, std::size_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace asterias::device
