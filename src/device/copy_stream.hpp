// A copy queue that is a thread: what stands in for an accelerator's.
//
// The simulated accelerator's link is one CopyStream per direction. With a declared bandwidth a copy is real and then
// held back until the time the declared link would have taken (deadlines on one clock, so idle time is not saved up).
// What is waited for goes first: with a declared bandwidth a copy is made in pieces, between which another may pass it.
//
// Threading: thread-safe; one worker thread. Units: bytes, bytes per second.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "device/copy_queue.hpp"

namespace asterias::device {

class CopyStream final : public CopyQueue {
 public:
  // bytes_per_second 0: as fast as memcpy.
  explicit CopyStream(std::uint64_t bytes_per_second = 0);
  ~CopyStream() override;

  Ticket copy(std::byte* to, const std::byte* from, std::size_t bytes) override;

 private:
  class Copy;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace asterias::device
