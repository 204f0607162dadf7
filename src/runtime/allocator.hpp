// The c10 allocators of the CPU and of the run's card: every tensor's memory comes from a tier pool and is counted.
//
// While a runtime is alive, allocation makes room by evicting what no running operator names, inside the allocation: no
// operator is ever retried, and a peak equals its limit. Tensors of a card lie on the gpu tier, those of the CPU beside
// it on the cpu tier. Where there is no card, threads inside an engine scope allocate on the compute tier; others (data
// loaders) on the cpu tier. Without a runtime the allocator that was there before serves.
//
// Threading: thread-safe.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/StorageImpl.h>

#include "chunk/tier_pool.hpp"

namespace asterias::runtime {

class TorchDevice;

// Puts the allocator in place of torch's own; idempotent. Earlier blocks keep their own deleters.
void install_allocator();

// The same for card `index`. StateError for a second card: a process has one.
void install_device_allocator(TorchDevice& torch, int index);

// The allocator that is in place for tensors of `device`.
c10::Allocator* allocator_of(c10::Device device);

// Returns the block behind a storage, or null when its memory is not (any more) a block of ours.
const chunk::Block* block_of(c10::StorageImpl* storage);

// Takes the block out of a storage, which then owns nothing. REQUIRES: block_of(storage).
chunk::Block take_block(c10::StorageImpl* storage);

// Wraps a block as the owner of its memory, for a tensor of `device`.
at::DataPtr data_ptr_of(chunk::Block block, c10::Device device);

}  // namespace asterias::runtime
