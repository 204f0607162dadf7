#include "device/pinned_memory.hpp"

#include <utility>

namespace asterias::device {

PinnedMemory::PinnedMemory(std::shared_ptr<HostPinner> pinner, std::uint64_t bytes)
    : pinner_(std::move(pinner)), pages_(bytes), is_pinned_(bytes > 0 && pinner_->pin(pages_.data(), bytes)) {}

PinnedMemory::~PinnedMemory() {
  if (is_pinned_) pinner_->unpin(pages_.data(), pages_.bytes());
}

}  // namespace asterias::device
