#include "device/cuda_accelerator.hpp"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "device/cuda_device.hpp"
#include "device/cuda_host_pinner.hpp"
#include "device/cuda_link_queue.hpp"
#include "device/cuda_stream.hpp"

namespace asterias::device {
namespace {

using Cause = CudaError::Cause;

constexpr std::uint64_t kGranuleBytes = 2 * kMiB;  // what the driver rounds allocations up to

// Memory of the device in one piece.
class DeviceMemory {
 public:
  DeviceMemory(std::shared_ptr<const CudaDevice> device, std::uint64_t bytes)
      : device_(std::move(device)), bytes_(bytes) {
    device_->check(device_->calls().allocate(device_->index(), memory_, bytes), "taking its memory");
    living_bytes += bytes_;
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() {
    device_->calls().free(memory_);
    living_bytes -= bytes_;
  }

  // What the context and libraries hold of the device: all but what lives here, also of an earlier accelerator.
  static std::uint64_t bytes_besides(const CudaDevice& device) {
    const std::uint64_t held = device.held_bytes();
    return held - std::min<std::uint64_t>(held, living_bytes);
  }

  std::byte* data() const { return static_cast<std::byte*>(memory_); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  const std::shared_ptr<const CudaDevice> device_;
  const std::uint64_t bytes_;
  void* memory_ = nullptr;
  static inline std::atomic<std::uint64_t> living_bytes{0};
};

void refuse_limit_beyond(const CudaDevice& device, std::uint64_t limit) {
  throw CudaError(Cause::kTooSmall, "tiers.gpu.limit is " + format_bytes(limit) + ", " + device.name() + " has " +
                                        format_bytes(device.facts().total_bytes) +
                                        " in all; set the limit to that or less, or leave it out");
}

// UINT64_MAX: none.
std::uint64_t limit_of(const CudaOptions& options, std::uint64_t total) {
  if (options.limit_bytes != UINT64_MAX || options.limit_share >= 1) return options.limit_bytes;
  return static_cast<std::uint64_t>(options.limit_share * static_cast<double>(total));
}

// Counts what the limit leaves for memory() once context and libraries have theirs.
std::uint64_t memory_within_limit(const CudaDevice& device, const CudaOptions& options) {
  const std::uint64_t total = device.facts().total_bytes;
  if (options.limit_bytes != UINT64_MAX && options.limit_bytes > total)
    refuse_limit_beyond(device, options.limit_bytes);
  const std::uint64_t limit = limit_of(options, total);
  const bool is_limited = limit != UINT64_MAX;
  const std::uint64_t libraries = DeviceMemory::bytes_besides(device) + options.library_growth_bytes;
  const std::uint64_t there = device.free_bytes() - std::min(device.free_bytes(), options.library_growth_bytes);
  const std::uint64_t wanted = is_limited ? limit - std::min(limit, libraries) : there;
  if (is_limited && wanted < kGranuleBytes)
    throw CudaError(Cause::kTooSmall, "tiers.gpu.limit is " + format_bytes(limit) +
                                          ", and context and "
                                          "libraries take " +
                                          format_bytes(libraries) + " of " + device.name() + "; raise the limit");
  if (wanted > there || there < kGranuleBytes)
    throw CudaError(Cause::kBusy, device.name() + " has " + format_bytes(device.free_bytes()) + " free of " +
                                      format_bytes(total) + ", " + format_bytes(wanted) + " are asked for besides " +
                                      format_bytes(libraries) +
                                      " of context and libraries; end what else uses it (nvidia-smi names it), or set "
                                      "tiers.gpu.limit lower");
  return wanted / kGranuleBytes * kGranuleBytes;
}

class CudaAccelerator final : public Accelerator {
 public:
  CudaAccelerator(std::shared_ptr<const CudaDevice> device, const CudaOptions& options)
      : device_(std::move(device)),
        events_(std::make_shared<CudaEvents>(device_)),
        host_pinner_(std::make_shared<CudaHostPinner>(device_)),
        reserved_bytes_(DeviceMemory::bytes_besides(*device_) + options.library_growth_bytes),
        memory_(device_, memory_within_limit(*device_, options)),
        compute_(options.uses_foreign_stream ? std::make_unique<CudaStream>(events_, options.compute_stream)
                                             : std::make_unique<CudaStream>(events_)),
        to_device_(device_, events_, "copying to the device"),
        to_host_(device_, events_, "copying to the host") {}

  const std::string& name() const override { return device_->name(); }
  std::byte* memory() const override { return memory_.data(); }
  std::uint64_t memory_bytes() const override { return memory_.bytes(); }
  bool is_host_memory() const override { return false; }
  std::shared_ptr<std::byte> take_besides(std::uint64_t bytes) override {
    if (bytes > device_->free_bytes()) return nullptr;
    try {
      const auto besides = std::make_shared<const DeviceMemory>(device_, bytes);
      return {besides, besides->data()};
    } catch (const CudaError& error) {  // free, but not in one piece
      if (error.cause() != Cause::kBusy) throw;
      return nullptr;
    }
  }
  std::uint64_t reserved_bytes() const override { return reserved_bytes_; }
  std::uint64_t library_bytes() const override { return DeviceMemory::bytes_besides(*device_); }
  void adopt_thread() override { device_->adopt_thread(); }
  std::shared_ptr<HostPinner> host_pinner() override { return host_pinner_; }
  Stream& compute() override { return *compute_; }
  LinkQueue& to_device() override { return to_device_; }
  LinkQueue& to_host() override { return to_host_; }

 private:
  const std::shared_ptr<const CudaDevice> device_;
  const std::shared_ptr<CudaEvents> events_;
  const std::shared_ptr<CudaHostPinner> host_pinner_;
  const std::uint64_t reserved_bytes_;
  const DeviceMemory memory_;
  const std::unique_ptr<CudaStream> compute_;
  CudaLinkQueue to_device_, to_host_;
};

}  // namespace

std::unique_ptr<Accelerator> open_cuda_accelerator(CudaCalls& calls, const CudaOptions& options) {
  return open_cuda_accelerator(std::make_shared<const CudaDevice>(calls, options.index), options);
}

std::unique_ptr<Accelerator> open_cuda_accelerator(std::shared_ptr<const CudaDevice> device,
                                                   const CudaOptions& options) {
  return std::make_unique<CudaAccelerator>(std::move(device), options);
}

}  // namespace asterias::device
