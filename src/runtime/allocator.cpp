#include "runtime/allocator.hpp"

#include <mutex>
#include <unordered_map>

#include <c10/core/CPUAllocator.h>

#include "base/error.hpp"
#include "base/node_pool.hpp"
#include "runtime/interception.hpp"
#include "runtime/runtime.hpp"
#include "runtime/storage_slot.hpp"
#include "runtime/torch_device.hpp"

namespace asterias::runtime {
namespace {

// Living blocks by address. Data pointer and context must be equal for torch's raw interface, which oneDNN's scratch
// memory uses, and pages must start where the data does for direct I/O: so neither the context nor a header can hold
// the block.
class BlockTable {
 public:
  void put(chunk::Block block) {
    const std::lock_guard lock(mutex_);
    void* const data = block.data();
    blocks_.emplace(data, std::move(block));
  }
  // Takes the block at `data` out; empty when there is none.
  chunk::Block take(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(data);
    if (found == blocks_.end()) return {};
    chunk::Block block = std::move(found->second);
    blocks_.erase(found);
    return block;
  }
  const chunk::Block* find(void* data) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(data);
    return found == blocks_.end() ? nullptr : &found->second;
  }

 private:
  std::mutex mutex_;
  std::pmr::unordered_map<void*, chunk::Block> blocks_{node_pool()};
};

BlockTable& blocks() {
  static auto* const kBlocks = new BlockTable;  // outlives every tensor
  return *kBlocks;
}

// torch's own allocators, set once: of the CPU, and of the run's card.
c10::Allocator* plain_allocator = nullptr;
c10::Allocator* plain_device_allocator = nullptr;

// Give back a block of ours, or, through the raw interface, memory that torch's own allocator gave out before there
// was a runtime.
void delete_block(void* data) {
  if (data && !blocks().take(data)) plain_allocator->raw_deleter()(data);
}
void delete_device_block(void* data) {
  if (data && !blocks().take(data)) plain_device_allocator->raw_deleter()(data);
}

class TierAllocator final : public c10::Allocator {
 public:
  TierAllocator(c10::Allocator& plain, c10::Device device) : plain_(plain), device_(device) {}

  c10::Device device() const { return device_; }

  at::DataPtr allocate(std::size_t bytes) override {
    const auto runtime = Runtime::current();
    if (!runtime || !runtime->serves(device_)) return plain_.allocate(bytes);
    if (bytes == 0) return {nullptr, nullptr, raw_deleter(), device_};
    const bool computes_here = runtime->device() == device_ && (!device_.is_cpu() || is_in_scope());
    chunk::Block block = runtime->residency().allocate(bytes, computes_here ? runtime->compute_tier() : Tier::kCpu);
    bury();
    return data_ptr_of(std::move(block), device_);
  }

  c10::DeleterFnPtr raw_deleter() const override { return device_.is_cpu() ? &delete_block : &delete_device_block; }

  void copy_data(void* to, const void* from, std::size_t bytes) const override { plain_.copy_data(to, from, bytes); }

 private:
  c10::Allocator& plain_;
  const c10::Device device_;
};

TierAllocator* cpu_allocator = nullptr;  // both outlive every tensor
TierAllocator* device_allocator = nullptr;

constexpr std::uint8_t kPriority = 255;  // above whatever torch's own start-up sets later

}  // namespace

void install_allocator() {
  if (cpu_allocator) return;
  plain_allocator = c10::GetCPUAllocator();
  cpu_allocator = new TierAllocator(*plain_allocator, c10::kCPU);
  c10::SetAllocator(c10::kCPU, cpu_allocator, kPriority);
}

void install_device_allocator(TorchDevice& torch, int index) {
  if (device_allocator) {
    if (device_allocator->device().index() == index) return;
    throw StateError(StateError::Cause::kMisuse, "this process has computed on " + device_allocator->device().str() +
                                                     " and cannot go over to another card; start one process per card");
  }
  plain_device_allocator = torch.own_allocator();
  device_allocator =
      new TierAllocator(*plain_device_allocator, c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index)));
  torch.serve_by(device_allocator, index);
}

c10::Allocator* allocator_of(c10::Device device) { return device.is_cpu() ? cpu_allocator : device_allocator; }

const chunk::Block* block_of(c10::StorageImpl* storage) {
  auto& data = storage->_mutable_data_ptr_no_checks();
  const bool is_ours = data.get_deleter() == &delete_block || data.get_deleter() == &delete_device_block;
  return is_ours && data.get_context() ? blocks().find(data.get_context()) : nullptr;
}

chunk::Block take_block(c10::StorageImpl* storage) {
  return blocks().take(storage->_mutable_data_ptr_no_checks().release_context());
}

at::DataPtr data_ptr_of(chunk::Block block, c10::Device device) {
  void* const data = block.data();
  blocks().put(std::move(block));
  return {data, data, device.is_cpu() ? &delete_block : &delete_device_block, device};
}

}  // namespace asterias::runtime
