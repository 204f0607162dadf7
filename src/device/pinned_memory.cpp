#include "device/pinned_memory.hpp"

#include <string>

#include "base/byte_size.hpp"
#include "base/log.hpp"

namespace asterias::device {

PinnedMemory::PinnedMemory(CudaCalls& calls, std::uint64_t bytes) : calls_(calls), pages_(bytes) {
  if (bytes == 0) return;
  const int error = calls_.register_host(pages_.data(), bytes);
  is_pinned_ = error == 0;
  if (!is_pinned_)
    log::warning("host memory of " + format_bytes(bytes) + " could not be pinned (" + calls_.error_text(error) +
                 "): copies to and from the device are slower; raise `ulimit -l` or lower tiers.cpu.pinned_limit");
}

PinnedMemory::~PinnedMemory() {
  if (is_pinned_) calls_.unregister_host(pages_.data());
}

}  // namespace asterias::device
