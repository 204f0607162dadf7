#include "runtime/allocator.hpp"

#include <mutex>
#include <unordered_map>

#include <c10/core/CPUAllocator.h>

#include "base/node_pool.hpp"
#include "runtime/interception.hpp"
#include "runtime/runtime.hpp"
#include "runtime/storage_slot.hpp"

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

c10::Allocator* plain_allocator = nullptr;  // torch's own, set once by install_allocator

// Gives back a block of ours, or, through the raw interface, memory that torch's own allocator gave out before there
// was a runtime.
void delete_block(void* data) {
  if (data && !blocks().take(data)) plain_allocator->raw_deleter()(data);
}

class TierAllocator final : public c10::Allocator {
 public:
  at::DataPtr allocate(std::size_t bytes) override {
    const auto runtime = Runtime::current();
    if (!runtime) return plain_allocator->allocate(bytes);
    if (bytes == 0) return {nullptr, nullptr, &delete_block, c10::Device(c10::kCPU)};
    const Tier tier = is_in_scope() ? runtime->compute_tier() : Tier::kCpu;
    chunk::Block block = runtime->residency().allocate(bytes, tier);
    bury();
    return data_ptr_of(std::move(block));
  }

  c10::DeleterFnPtr raw_deleter() const override { return &delete_block; }

  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

constexpr std::uint8_t kPriority = 255;  // above whatever torch's own start-up sets later

}  // namespace

void install_allocator() {
  static TierAllocator* const kAllocator = [] {
    plain_allocator = c10::GetCPUAllocator();
    auto* allocator = new TierAllocator;  // outlives every tensor
    c10::SetAllocator(c10::kCPU, allocator, kPriority);
    return allocator;
  }();
  (void)kAllocator;
}

const chunk::Block* block_of(c10::StorageImpl* storage) {
  auto& data = storage->_mutable_data_ptr_no_checks();
  return data.get_deleter() == &delete_block && data.get_context() ? blocks().find(data.get_context()) : nullptr;
}

chunk::Block take_block(c10::StorageImpl* storage) {
  return blocks().take(storage->_mutable_data_ptr_no_checks().release_context());
}

at::DataPtr data_ptr_of(chunk::Block block) {
  void* const data = block.data();
  blocks().put(std::move(block));
  return {data, data, &delete_block, c10::Device(c10::kCPU)};
}

}  // namespace asterias::runtime
