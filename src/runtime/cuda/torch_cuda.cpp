// TorchDevice by c10/cuda, and what libasterias_torch_cuda.so exports for src/runtime/.
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <ATen/Context.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "runtime/torch_device.hpp"

namespace asterias::runtime {
namespace {

using c10::CachingDeviceAllocator::DeviceStats;
using c10::cuda::CUDACachingAllocator::AllocatorState;
using c10::cuda::CUDACachingAllocator::AllocatorTraceTracker;
using c10::cuda::CUDACachingAllocator::CheckpointDelta;
using c10::cuda::CUDACachingAllocator::CreateContextFn;
using c10::cuda::CUDACachingAllocator::CUDAAllocator;
using c10::cuda::CUDACachingAllocator::OutOfMemoryObserver;
using c10::cuda::CUDACachingAllocator::RecordContext;
using c10::cuda::CUDACachingAllocator::ShareableHandle;
using c10::cuda::CUDACachingAllocator::SnapshotInfo;
using c10::cuda::CUDACachingAllocator::StreamSegmentSize;

c10::DeviceIndex device_index(int index) { return static_cast<c10::DeviceIndex>(index); }

// torch's caching allocator, but for one device's memory, which somebody else gives. What is asked of caches, pools and
// statistics is about torch's own.
class ServedAllocator final : public CUDAAllocator {
 public:
  explicit ServedAllocator(CUDAAllocator* own) : own_(own) {}

  CUDAAllocator* own() const { return own_; }
  void serve_by(c10::Allocator* server, int index) {
    server_ = server;
    index_ = device_index(index);
  }

  at::DataPtr allocate(std::size_t bytes) override {
    return is_served() ? server_->allocate(bytes) : own_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return server_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { own_->copy_data(to, from, bytes); }

  void* raw_alloc(std::size_t bytes) override {
    return is_served() ? server_->raw_allocate(bytes) : own_->raw_alloc(bytes);
  }
  // What is asked for on another stream is used anew in that stream's order, which is torch's own to keep.
  void* raw_alloc_with_stream(std::size_t bytes, cudaStream_t stream) override {
    const bool is_ordered = is_served() && stream == default_stream();
    return is_ordered ? server_->raw_allocate(bytes) : own_->raw_alloc_with_stream(bytes, stream);
  }
  void raw_delete(void* data) override { server_->raw_deallocate(data); }

  // Served memory is used anew in the order of the default stream.
  void recordStream(const at::DataPtr& data, c10::cuda::CUDAStream stream) override {
    if (data.get_deleter() != server_->raw_deleter()) return own_->recordStream(data, stream);
    TORCH_CHECK(!data.get() || stream.stream() == default_stream(),
                "asterias: a tensor of cuda:", static_cast<int>(index_),
                " was lent to another stream than the default one, which orders the use of its memory; use the "
                "engine's tensors on the default stream");
  }

  bool initialized() override { return own_->initialized(); }
  void init(int device_count) override { own_->init(device_count); }
  void emptyCache(c10::MempoolId_t id) override { own_->emptyCache(id); }
  void enable(bool value) override { own_->enable(value); }
  bool isEnabled() const override { return own_->isEnabled(); }
  DeviceStats getDeviceStats(c10::DeviceIndex device) override { return own_->getDeviceStats(device); }
  void resetAccumulatedStats(c10::DeviceIndex device) override { own_->resetAccumulatedStats(device); }
  void resetPeakStats(c10::DeviceIndex device) override { own_->resetPeakStats(device); }
  double getMemoryFraction(c10::DeviceIndex device) override { return own_->getMemoryFraction(device); }
  void setMemoryFraction(double fraction, c10::DeviceIndex device) override {
    own_->setMemoryFraction(fraction, device);
  }
  std::vector<StreamSegmentSize> getExpandableSegmentSizes(c10::DeviceIndex device) override {
    return own_->getExpandableSegmentSizes(device);
  }
  void cacheInfo(c10::DeviceIndex device, std::size_t* largest) override { own_->cacheInfo(device, largest); }
  void* getBaseAllocation(void* data, std::size_t* size) override { return own_->getBaseAllocation(data, size); }
  SnapshotInfo snapshot(c10::MempoolId_t id, bool include_traces) override {
    return own_->snapshot(id, include_traces);
  }
  void beginAllocateToPool(c10::DeviceIndex device, c10::MempoolId_t id,
                           std::function<bool(cudaStream_t)> filter) override {
    own_->beginAllocateToPool(device, id, std::move(filter));
  }
  void endAllocateToPool(c10::DeviceIndex device, c10::MempoolId_t id) override { own_->endAllocateToPool(device, id); }
  void releasePool(c10::DeviceIndex device, c10::MempoolId_t id) override { own_->releasePool(device, id); }
  int getPoolUseCount(c10::DeviceIndex device, c10::MempoolId_t id) override {
    return own_->getPoolUseCount(device, id);
  }
  void createOrIncrefPool(c10::DeviceIndex device, c10::MempoolId_t id,
                          std::shared_ptr<CUDAAllocator> allocator) override {
    own_->createOrIncrefPool(device, id, std::move(allocator));
  }
  void setUseOnOOM(c10::DeviceIndex device, c10::MempoolId_t id, bool use) override {
    own_->setUseOnOOM(device, id, use);
  }
  void setNoSplit(c10::DeviceIndex device, c10::MempoolId_t id) override { own_->setNoSplit(device, id); }
  bool checkPoolLiveAllocations(c10::DeviceIndex device, c10::MempoolId_t id,
                                const std::unordered_set<void*>& expected) override {
    return own_->checkPoolLiveAllocations(device, id, expected);
  }
  ShareableHandle shareIpcHandle(void* data) override { return own_->shareIpcHandle(data); }
  std::shared_ptr<void> getIpcDevPtr(std::string handle) override { return own_->getIpcDevPtr(std::move(handle)); }
  bool isHistoryEnabled() override { return own_->isHistoryEnabled(); }
  void recordHistory(bool enabled, CreateContextFn recorder, std::size_t max_entries, RecordContext when,
                     bool clears_history, const std::vector<std::string>& skipped) override {
    own_->recordHistory(enabled, recorder, max_entries, when, clears_history, skipped);
  }
  void recordAnnotation(const std::vector<std::pair<std::string, std::string>>& annotation) override {
    own_->recordAnnotation(annotation);
  }
  void attachOutOfMemoryObserver(OutOfMemoryObserver observer) override {
    own_->attachOutOfMemoryObserver(std::move(observer));
  }
  void attachAllocatorTraceTracker(AllocatorTraceTracker tracker) override {
    own_->attachAllocatorTraceTracker(std::move(tracker));
  }
  void enablePeerAccess(c10::DeviceIndex device, c10::DeviceIndex other) override {
    own_->enablePeerAccess(device, other);
  }
  cudaError_t memcpyAsync(void* to, int to_device, const void* from, int from_device, std::size_t bytes,
                          cudaStream_t stream, bool peer_to_peer) override {
    return own_->memcpyAsync(to, to_device, from, from_device, bytes, stream, peer_to_peer);
  }
  std::shared_ptr<AllocatorState> getCheckpointState(c10::DeviceIndex device, c10::MempoolId_t id) override {
    return own_->getCheckpointState(device, id);
  }
  CheckpointDelta setCheckpointPoolState(c10::DeviceIndex device, std::shared_ptr<AllocatorState> state) override {
    return own_->setCheckpointPoolState(device, std::move(state));
  }
  std::string name() override { return own_->name(); }

 private:
  bool is_served() const { return c10::cuda::current_device() == index_; }
  cudaStream_t default_stream() const { return c10::cuda::getDefaultCUDAStream(index_).stream(); }

  CUDAAllocator* const own_;
  c10::Allocator* server_ = nullptr;
  c10::DeviceIndex index_ = -1;
};

class TorchCuda final : public TorchDevice {
 public:
  // libtorch_cuda's own, whatever headers this file was compiled with.
  int cuda_version() override { return static_cast<int>(at::detail::getCUDAHooks().versionCUDART()); }
  c10::Allocator* own_allocator() override { return served().own(); }
  void serve_by(c10::Allocator* allocator, int index) override {
    served().serve_by(allocator, index);
    c10::cuda::CUDACachingAllocator::allocator.store(&served());
    c10::SetAllocator(c10::kCUDA, &served(), kPriority);
  }
  // Asking torch would make the card's context before it is known what others hold of the card.
  device::StreamHandle stream(int) override { return {}; }
  bool is_on_stream(int index) override {
    const auto device = device_index(index);
    return c10::cuda::current_device() == device &&
           c10::cuda::getCurrentCUDAStream(device) == c10::cuda::getDefaultCUDAStream(device);
  }
  void drop_workspaces() override { at::cuda::clearCublasWorkspaces(); }

 private:
  static constexpr std::uint8_t kPriority = 255;

  // torch's own allocator must be there before it is replaced.
  static ServedAllocator& served() {
    static auto* const kServed = [] {
      at::globalContext().lazyInitDevice(at::kCUDA);
      return new ServedAllocator(c10::cuda::CUDACachingAllocator::get());  // outlives every tensor
    }();
    return *kServed;
  }
};

}  // namespace
}  // namespace asterias::runtime

// What src/runtime/cuda_backend.cpp and src/device/cuda_plugin.cpp look for.
extern "C" {

[[gnu::visibility("default")]] asterias::runtime::TorchDevice* asterias_torch_device() {
  static asterias::runtime::TorchCuda device;
  return &device;
}

[[gnu::visibility("default")]] const char* asterias_cuda_interface() { return ASTERIAS_PLUGIN_INTERFACE; }
}
