#include "device/cuda_host_pinner.hpp"

#include <string>
#include <utility>

#include "base/byte_size.hpp"
#include "base/log.hpp"

namespace asterias::device {

CudaHostPinner::CudaHostPinner(std::shared_ptr<const CudaDevice> device) : device_(std::move(device)) {}

bool CudaHostPinner::pin(std::byte* memory, std::uint64_t bytes) {
  const int error = device_->calls().register_host(device_->index(), memory, bytes);
  if (error == 0) {
    pinned_bytes_ += bytes;
    return true;
  }
  log::warning(device_->name() + ": host memory of " + format_bytes(bytes) + " could not be pinned beside " +
               format_bytes(pinned_bytes_) + " (" + device_->calls().error_text(error) +
               "): copies from and to other memory are slower and hold the host up; virtual machines, containers and "
               "WSL may bound what can be pinned, and the kernel's log (dmesg) may say why");
  return false;
}

// A device that is lost refuses this, too, and uses the memory no more.
void CudaHostPinner::unpin(std::byte* memory, std::uint64_t bytes) noexcept {
  device_->calls().unregister_host(device_->index(), memory);
  pinned_bytes_ -= bytes;
}

}  // namespace asterias::device
