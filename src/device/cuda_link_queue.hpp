// The copies of one direction between host and device, each with a ticket.
//
// A copy is enqueued on the caller's thread, so its point is there at once for other streams; a thread of its own
// sleeps until copies have ended and completes their tickets. CUDA's own callbacks lost: the stream stands still while
// one runs. From or to pageable memory the caller waits while CUDA stages the bytes.
//
// Invariants: tickets complete in the order of submission. What submission meets, the ticket throws.
// Threading: thread-safe; one worker thread.
#pragma once

#include <memory>

#include "device/accelerator.hpp"
#include "device/cuda_stream.hpp"

namespace asterias::device {

class CudaLinkQueue final : public LinkQueue {
 public:
  // `what` names the direction in errors: "copying to the device".
  CudaLinkQueue(std::shared_ptr<const CudaDevice> device, std::shared_ptr<CudaEvents> events, const char* what);
  ~CudaLinkQueue() override;  // completes what was submitted

  Ticket copy(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void wait_for(const SharedPoint& point) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace asterias::device
