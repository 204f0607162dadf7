// Registers host memory with the driver of a card.
//
// cudaHostAlloc lost: it rounds sizes up, and its memory shows in no count of ours; here pages are PageBlocks like all
// others, and a limit is met to the page.
//
// Threading: thread-safe. Units: bytes.
#pragma once

#include <atomic>
#include <memory>

#include "device/cuda_device.hpp"
#include "device/host_pinner.hpp"

namespace asterias::device {

class CudaHostPinner final : public HostPinner {
 public:
  explicit CudaHostPinner(std::shared_ptr<const CudaDevice> device);

  bool pin(std::byte* memory, std::uint64_t bytes) override;
  void unpin(std::byte* memory, std::uint64_t bytes) noexcept override;

 private:
  const std::shared_ptr<const CudaDevice> device_;
  std::atomic<std::uint64_t> pinned_bytes_{0};
};

}  // namespace asterias::device
