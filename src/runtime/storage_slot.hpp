// Ties a torch storage to a resident: the storage loses and regains its memory as the resident moves.
//
// A slot is the context of the storage's own DataPtr, so it needs no map to be found, serves every view, detached alias
// and saved variable of the storage at once, and dies with it, present or absent. An absent storage has no pointer at
// all and carries a guard: an access that slips past the interception throws our text, before any kernel runs, instead
// of reading stale memory.
//
// Invariants
//   * Only storages whose memory came from our allocator (runtime/allocator.hpp) or that belong to a module's
//     parameters have slots;
//     from_blob, mmap, copy-on-write and opaque storages are left alone.
//   * A slot holds its storage weakly: it never keeps a tensor alive.
//   * A lent slot is no tenant of its resident.
//
// Threading: Residency's lock covers follow(); adoption happens on the thread whose operator names the storage. Loans
// begin and end on the engine's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/core/StorageImpl.h>

#include "base/node_pool.hpp"
#include "evict/residency.hpp"

namespace asterias::runtime {

class StorageSlot final : public evict::Tenant, public Pooled {
 public:
  // What people know the tensor by; shared, so that nothing is written anew for each tensor of the same name.
  using Name = std::shared_ptr<const std::string>;

  // Finds the slot of a storage, or null.
  static StorageSlot* of(c10::StorageImpl* storage);
  static StorageSlot* of(const at::Tensor& tensor);

  // Finds the slot of a storage in `residency`, or null. A tensor that outlived an earlier runtime leaves that one
  // first.
  static StorageSlot* find(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage);

  // Makes the storage an activation resident if its block is ours and large enough, and of the device that computes;
  // returns its slot, or null.
  static StorageSlot* adopt(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage);

  // Replaces whatever memory the storage has by `chunk` at `offset_bytes`. The caller has copied the content. `data`:
  // where that is, if the chunk is pinned on the compute tier. `place` (may be null) is set to the slot while it lives.
  static void settle(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage,
                     evict::Resident* chunk, std::uint64_t offset_bytes, Name name, std::byte* data = nullptr,
                     StorageSlot** place = nullptr);

  // Makes a tensor of `dtype`, shaped like `like`, whose storage lies in `chunk`, to be written by an operator at once:
  // it has no guard before it has had memory. `place` (may be null) is set to the slot while it lives.
  static at::Tensor make_tensor(const std::shared_ptr<evict::Residency>& residency, evict::Resident* chunk,
                                std::uint64_t offset_bytes, const at::Tensor& like, at::ScalarType dtype, Name name,
                                StorageSlot** place);

  // Makes a tensor of `device` whose memory, on the cpu tier so far, is that of `host`, a CPU tensor that nobody else
  // has. Undefined where that is too small to be a resident.
  static at::Tensor adopt_host(const std::shared_ptr<evict::Residency>& residency, const at::Tensor& host,
                               c10::Device device);

  // Gives the storage of `slot` plain memory of its own on `tier`, with the same bytes; the slot ends. Nothing happens
  // to an empty storage. Throws OutOfMemory. REQUIRES: the slot's chunk is pinned there.
  static void move_out(StorageSlot* slot, Tier tier);

  // Gives every storage that still has a slot plain memory of its own on the cpu tier, as far as it fits; on a card it
  // stays on the gpu tier, which stays with it. Warns of the rest. For what outlives the last engine. Throws nothing of
  // ours: it runs in destructors.
  static void release_survivors(const std::shared_ptr<evict::Residency>& residency);

  evict::Resident* resident() const { return resident_; }
  std::uint64_t offset_bytes() const { return offset_bytes_; }
  const std::string& name() const { return *name_; }
  // Counts the accesses that may have changed the bytes. Autograd's version counters do not: .data() has a counter of
  // its own.
  void note_write() { num_writes_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t num_writes() const { return num_writes_.load(std::memory_order_relaxed); }
  void forget_place() { place_ = nullptr; }

  // While the place is lent to another storage, this one has no memory, and whoever names it calls recall() first,
  // which calls `recall` to have the bytes put back and end_loan() called.
  void lend(std::function<void()> recall);
  void end_loan();
  // Ends a loan whose bytes are lost: the storage never has memory again.
  void lose();
  bool is_lent() const { return recall_ != nullptr; }
  void recall() const;

  void follow(std::byte* payload) noexcept override;

 private:
  StorageSlot(std::shared_ptr<evict::Residency> residency, c10::StorageImpl* storage, std::uint64_t offset_bytes,
              Name name);
  static void on_storage_death(void* slot);
  static StorageSlot* settle_block(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage,
                                   chunk::Block block, Name name);
  static StorageSlot* move_over(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage);
  void fill(StorageSlot** place);
  void point(c10::StorageImpl* storage, std::byte* data);
  void return_block(c10::StorageImpl* storage, chunk::Block block);
  static bool release_activation(const std::shared_ptr<evict::Residency>& residency, evict::Resident* resident);
  static void release_chunk(const std::shared_ptr<evict::Residency>& residency, evict::Resident* resident);
  static void stay_on_card(evict::Resident* resident);

  std::shared_ptr<evict::Residency> residency_;
  evict::Resident* resident_ = nullptr;
  std::uint64_t offset_bytes_;
  c10::weak_intrusive_ptr<c10::StorageImpl> storage_;
  Name name_;
  bool has_guard_ = false;  // the storage knows what to say
  bool stays_ = false;      // pinned on the card for as long as it lives
  StorageSlot** place_ = nullptr;
  std::function<void()> recall_;  // while the place is lent
  std::atomic<std::uint64_t> num_writes_{0};
};

// Dispatches the operators on dense tensors of `device`.
inline c10::DispatchKey key_of(c10::Device device) {
  return device.is_cpu() ? c10::DispatchKey::CPU : c10::DispatchKey::CUDA;
}

// Drops references that follow() had to take. Call after every call into Residency, without its lock: a last reference
// dies here.
void bury();

}  // namespace asterias::runtime
