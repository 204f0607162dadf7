// A stream of a CUDA device and its points, which are events from a pool.
//
// Threading: thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "device/accelerator.hpp"
#include "device/cuda_device.hpp"

namespace asterias::device {

// Events of one device, used again when their point is gone: making one costs ten times what recording one does.
class CudaEvents {
 public:
  explicit CudaEvents(std::shared_ptr<const CudaDevice> device) : device_(std::move(device)) {}
  CudaEvents(const CudaEvents&) = delete;
  CudaEvents& operator=(const CudaEvents&) = delete;
  ~CudaEvents();

  const CudaDevice& device() const { return *device_; }
  EventHandle take();
  void give_back(EventHandle event) noexcept;

 private:
  const std::shared_ptr<const CudaDevice> device_;
  std::mutex mutex_;
  std::vector<EventHandle> idle_;
};

class CudaStream final : public Stream {
 public:
  // Makes a stream that does not wait for the driver's default stream.
  explicit CudaStream(std::shared_ptr<CudaEvents> events);
  // Adopts the stream of another library (torch's current one), which must outlive this.
  CudaStream(std::shared_ptr<CudaEvents> events, StreamHandle foreign);
  ~CudaStream() override;  // waits for what was enqueued, into another library's stream, too

  StreamHandle handle() const override { return stream_; }
  SharedPoint point() override;
  void wait_for(const SharedPoint& point) override;
  void fill(std::byte* memory, std::uint8_t byte, std::uint64_t bytes) override;
  void copy(std::byte* to, const std::byte* from, std::uint64_t bytes) override;

 private:
  const std::shared_ptr<CudaEvents> events_;
  const CudaDevice& device_;
  StreamHandle stream_;
  const bool is_own_;
};

}  // namespace asterias::device
