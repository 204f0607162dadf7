#include "device/cuda_stream.hpp"

#include <utility>

#include "base/error.hpp"

namespace asterias::device {
namespace {

// An event that has been recorded once. Waiting streams take note of that recording when they are told to wait, so the
// event may be recorded anew, elsewhere, once nobody holds the point.
class CudaPoint final : public StreamPoint {
 public:
  CudaPoint(std::shared_ptr<CudaEvents> events, StreamHandle stream) : events_(std::move(events)), stream_(stream) {
    event_ = events_->take();
    const int error = events_->device().calls().record_event(event_, stream);
    if (error == 0) return;
    events_->give_back(event_);
    events_->device().check(error, "marking a point of a stream");
  }
  ~CudaPoint() override { events_->give_back(event_); }

  EventHandle event() const { return event_; }
  bool is_of(StreamHandle stream) const { return stream_.driver_stream == stream.driver_stream; }
  bool is_of(const CudaDevice& device) const { return &events_->device() == &device; }

  bool reached() const override {
    const CudaDevice& device = events_->device();
    const int error = device.calls().query_event(event_);
    if (device.calls().failure(error) == CudaFailure::kNotReady) return false;
    device.check(error, "working");
    return true;
  }
  void wait() const override { events_->device().check(events_->device().calls().wait_event(event_), "working"); }

 private:
  const std::shared_ptr<CudaEvents> events_;
  const StreamHandle stream_;
  EventHandle event_;
};

}  // namespace

CudaEvents::~CudaEvents() {
  for (const EventHandle event : idle_) device_->calls().destroy_event(event);
}

EventHandle CudaEvents::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      const EventHandle event = idle_.back();
      idle_.pop_back();
      return event;
    }
  }
  EventHandle event;
  device_->check(device_->calls().create_event(device_->index(), event), "making an event");
  return event;
}

void CudaEvents::give_back(EventHandle event) noexcept {
  const std::lock_guard lock(mutex_);
  idle_.push_back(event);
}

CudaStream::CudaStream(std::shared_ptr<CudaEvents> events)
    : events_(std::move(events)), device_(events_->device()), is_own_(true) {
  device_.check(device_.calls().create_stream(device_.index(), stream_), "making a stream");
}

CudaStream::CudaStream(std::shared_ptr<CudaEvents> events, StreamHandle foreign)
    : events_(std::move(events)), device_(events_->device()), stream_(foreign), is_own_(false) {}

// A device that is lost says so to whoever waits for a ticket; here nobody could be told.
CudaStream::~CudaStream() {
  device_.calls().synchronize(stream_);
  if (is_own_) device_.calls().destroy_stream(stream_);
}

SharedPoint CudaStream::point() { return std::make_shared<const CudaPoint>(events_, stream_); }

void CudaStream::wait_for(const SharedPoint& point) {
  if (!point) return;
  const auto* const of_cuda = dynamic_cast<const CudaPoint*>(point.get());
  if (!of_cuda || !of_cuda->is_of(device_))
    throw StateError(StateError::Cause::kBug, "a CUDA stream was told to wait for a point of another device");
  if (of_cuda->is_of(stream_)) return;
  device_.check(device_.calls().stream_wait_event(stream_, of_cuda->event()), "waiting between streams");
}

void CudaStream::fill(std::byte* memory, std::uint8_t byte, std::uint64_t bytes) {
  if (bytes > 0) device_.check(device_.calls().fill(memory, byte, bytes, stream_), "filling memory");
}

void CudaStream::copy(std::byte* to, const std::byte* from, std::uint64_t bytes) {
  if (bytes > 0) device_.check(device_.calls().copy(to, from, bytes, stream_), "copying within the device");
}

}  // namespace asterias::device
