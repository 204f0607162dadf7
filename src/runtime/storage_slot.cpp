#include "runtime/storage_slot.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include <ATen/ops/empty.h>
#include <c10/core/TensorImpl.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "runtime/allocator.hpp"

namespace asterias::runtime {
namespace {

// Names a private member legally, by explicit instantiation: 2.11 has no public way to take the guard off again
// (c10/core/StorageImpl.h, throw_on_immutable_data_ptr_).
template <class Tag, typename Tag::type M>
struct Expose {
  friend typename Tag::type member(Tag) { return M; }
};
struct ThrowOnRead {
  using type = bool c10::StorageImpl::*;
  friend type member(ThrowOnRead);
};
template struct Expose<ThrowOnRead, &c10::StorageImpl::throw_on_immutable_data_ptr_>;

// Storages that follow() locked. They may be the last references, so they must not die under Residency's lock.
struct Graveyard {
  std::mutex mutex;
  std::vector<c10::intrusive_ptr<c10::StorageImpl>> storages;
  std::vector<c10::intrusive_ptr<c10::StorageImpl>> emptied;  // keeps its memory for the next ones
  std::atomic<bool> occupied{false};
};

Graveyard& graveyard() {
  static auto* const kGraveyard = new Graveyard;  // outlives every tensor
  return *kGraveyard;
}

c10::weak_intrusive_ptr<c10::StorageImpl> weak(c10::StorageImpl* storage) {
  return c10::weak_intrusive_ptr<c10::StorageImpl>(
      c10::intrusive_ptr<c10::StorageImpl>::unsafe_reclaim_from_nonowning(storage));
}

const StorageSlot::Name& nameless() {
  static const auto kName = std::make_shared<const std::string>("a tensor");
  return kName;
}

constexpr std::uint64_t kMinAdoptedBytes = device::kPageBytes;

// Where what outlives the last engine goes, unless it is a card's: torch's own memory is DRAM, whatever tier was
// computed on.
constexpr Tier kSurvivorTier = Tier::kCpu;

}  // namespace

void bury() {
  auto& grave = graveyard();
  if (!grave.occupied.load(std::memory_order_acquire)) return;
  std::vector<c10::intrusive_ptr<c10::StorageImpl>> dead;
  {
    const std::lock_guard lock(grave.mutex);
    dead.swap(grave.storages);
    grave.storages.swap(grave.emptied);
    grave.occupied.store(false, std::memory_order_release);
  }
  dead.clear();
  const std::lock_guard lock(grave.mutex);
  grave.emptied.swap(dead);
}

StorageSlot::StorageSlot(std::shared_ptr<evict::Residency> residency, c10::StorageImpl* storage,
                         std::uint64_t offset_bytes, Name name)
    : residency_(std::move(residency)), offset_bytes_(offset_bytes), storage_(weak(storage)), name_(std::move(name)) {}

StorageSlot* StorageSlot::of(c10::StorageImpl* storage) {
  auto& data = storage->_mutable_data_ptr_no_checks();
  return data.get_deleter() == &StorageSlot::on_storage_death ? static_cast<StorageSlot*>(data.get_context()) : nullptr;
}

StorageSlot* StorageSlot::of(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.unsafeGetTensorImpl()->has_storage()) return nullptr;
  return of(tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl());
}

StorageSlot* StorageSlot::find(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage) {
  auto* slot = of(storage);
  if (!slot || slot->residency_ == residency) return slot;
  return move_over(residency, storage);
}

// Copies the bytes out of an earlier runtime, whose tiers stay until its last slot dies, into plain memory of this one.
// What is a card's becomes a resident at once: only that has memory in DRAM.
StorageSlot* StorageSlot::move_over(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage) {
  const auto* slot = of(storage);
  const auto earlier = slot->residency_;
  const evict::Want want{slot->resident_, evict::Access::kRead};
  earlier->acquire({&want, 1}, kSurvivorTier);
  chunk::Block block;
  try {
    const std::uint64_t least = storage->device().is_cpu() ? 1 : kMinAdoptedBytes;
    block = residency->allocate(std::max<std::uint64_t>(storage->nbytes(), least), kSurvivorTier);
  } catch (...) {
    earlier->release({&want, 1}, kSurvivorTier);
    throw;
  }
  std::memcpy(block.data(), earlier->address(want.resident, kSurvivorTier) + slot->offset_bytes_, storage->nbytes());
  earlier->release({&want, 1}, kSurvivorTier);
  const Name name = slot->name_;
  const c10::Device device = storage->device();
  const at::DataPtr old = std::move(storage->_mutable_data_ptr_no_checks());  // the slot dies with it
  storage->*member(ThrowOnRead{}) = false;
  storage->set_data_ptr_noswap(at::DataPtr(nullptr, device));
  if (device.is_cpu()) {
    storage->set_data_ptr_noswap(data_ptr_of(std::move(block), device));
    return nullptr;
  }
  return settle_block(residency, storage, std::move(block), name);
}

// Gives an empty storage of a card a resident that has its bytes on the cpu tier.
StorageSlot* StorageSlot::settle_block(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage,
                                       chunk::Block block, Name name) {
  auto* slot = new StorageSlot(residency, storage, 0, std::move(name));
  slot->point(storage, nullptr);
  slot->resident_ = residency->adopt(std::move(block), slot);
  return slot;
}

at::Tensor StorageSlot::adopt_host(const std::shared_ptr<evict::Residency>& residency, const at::Tensor& host,
                                   c10::Device device) {
  auto* storage = host.storage().unsafeGetStorageImpl();
  if (device.is_cpu()) return adopt(residency, storage) ? host : at::Tensor();
  const chunk::Block* block = block_of(storage);
  if (!block || block->bytes() < kMinAdoptedBytes) return {};
  auto of_device = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), storage->nbytes(),
                                                         at::DataPtr(nullptr, device), allocator_of(device), true);
  settle_block(residency, of_device.get(), take_block(storage), nameless());
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(std::move(of_device)),
                                                         c10::DispatchKeySet(key_of(device)), host.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(host.sizes(), host.strides());
  return tensor;
}

StorageSlot* StorageSlot::adopt(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage) {
  static std::mutex adoption;  // two threads may meet a loader's tensor at once
  const std::lock_guard lock(adoption);
  if (auto* slot = find(residency, storage)) return slot;
  const auto& tiers = residency->hierarchy();
  if (storage->device().is_cpu() && !tiers.is_host(tiers.compute_tier())) return nullptr;
  const chunk::Block* block = block_of(storage);
  if (!block || block->bytes() < kMinAdoptedBytes || !residency->hierarchy().has(block->pool()->tier())) return nullptr;
  if (&residency->hierarchy().pool(block->pool()->tier()) != block->pool()) return nullptr;  // an earlier runtime's
  auto* slot = new StorageSlot(residency, storage, 0, nameless());
  chunk::Block taken = take_block(storage);
  slot->point(storage, taken.data());
  slot->resident_ = residency->adopt(std::move(taken), slot);
  return slot;
}

void StorageSlot::settle(const std::shared_ptr<evict::Residency>& residency, c10::StorageImpl* storage,
                         evict::Resident* chunk, std::uint64_t offset_bytes, Name name, std::byte* data,
                         StorageSlot** place) {
  auto* slot = new StorageSlot(residency, storage, offset_bytes, std::move(name));
  slot->resident_ = chunk;
  slot->fill(place);
  {
    // The old memory dies with its DataPtr (an old slot tells Residency). The storage stays readable until follow()
    // points it.
    at::DataPtr old = std::move(storage->_mutable_data_ptr_no_checks());
    slot->point(storage, data);
  }
  residency->add_tenant(chunk, slot);
}

void StorageSlot::fill(StorageSlot** place) {
  place_ = place;
  if (place) *place = this;
}

at::Tensor StorageSlot::make_tensor(const std::shared_ptr<evict::Residency>& residency, evict::Resident* chunk,
                                    std::uint64_t offset_bytes, const at::Tensor& like, at::ScalarType dtype, Name name,
                                    StorageSlot** place) {
  const auto bytes = static_cast<std::size_t>(like.numel()) * at::elementSize(dtype);
  auto storage =
      c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes,
                                            at::DataPtr(nullptr, like.device()), allocator_of(like.device()), true);
  auto* slot = new StorageSlot(residency, storage.get(), offset_bytes, std::move(name));
  slot->resident_ = chunk;
  storage->set_data_ptr_noswap(at::DataPtr(nullptr, slot, &StorageSlot::on_storage_death, storage->device()));
  if (chunk->is_table) slot->point(storage.get(), nullptr);  // it may be written elsewhere
  residency->add_tenant(chunk, slot);
  slot->fill(place);
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(std::move(storage)), c10::DispatchKeySet(key_of(like.device())), c10::scalarTypeToTypeMeta(dtype));
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides());
  return tensor;
}

// The storage keeps the guard's text while it has memory: it is written once.
void StorageSlot::point(c10::StorageImpl* storage, std::byte* data) {
  if (of(storage) == this) (void)storage->_mutable_data_ptr_no_checks().release_context();
  if (!data && !std::exchange(has_guard_, true))
    storage->release_data_and_set_meta_custom_data_ptr_error_msg_(
        *name_ +
        " is not resident: use it through an operator on a thread inside engine.scope(), or hold "
        "asterias::pin(tensor)");
  storage->*member(ThrowOnRead{}) = data == nullptr;  // first: setting the pointer looks at it
  storage->set_data_ptr_noswap(at::DataPtr(data, this, &StorageSlot::on_storage_death, storage->device()));
}

void StorageSlot::follow(std::byte* payload) noexcept {
  auto storage = storage_.lock();
  if (!storage) return;
  const bool points_nowhere = storage->_mutable_data_ptr_no_checks().get() == nullptr;
  if (of(storage.get()) == this && (payload || !points_nowhere))
    point(storage.get(), payload ? payload + offset_bytes_ : nullptr);
  auto& grave = graveyard();
  const std::lock_guard lock(grave.mutex);
  grave.storages.push_back(std::move(storage));
  grave.occupied.store(true, std::memory_order_release);
}

void StorageSlot::on_storage_death(void* context) {
  std::unique_ptr<StorageSlot> slot(static_cast<StorageSlot*>(context));
  if (slot->place_) *slot->place_ = nullptr;
  if (!slot->resident_) return;
  if (const evict::Want want{slot->resident_, evict::Access::kRead}; slot->stays_)
    slot->residency_->release({&want, 1}, slot->residency_->hierarchy().compute_tier());
  // A gradient's chunk is worth nothing once no gradient lies in it.
  evict::Resident* resident = slot->resident_;
  const bool is_gradient = resident->is_chunk && resident->list == chunk::ListKind::kGrad && !resident->retired;
  if (slot->residency_->remove_tenant(resident, slot.get()) == 0 && is_gradient) slot->residency_->forget(resident);
}

void StorageSlot::lend(std::function<void()> recall) {
  recall_ = std::move(recall);
  residency_->remove_tenant(resident_, this);
  if (const auto storage = storage_.lock()) point(storage.get(), nullptr);
}

void StorageSlot::end_loan() {
  recall_ = nullptr;
  residency_->add_tenant(resident_, this);
}

void StorageSlot::lose() {
  const auto storage = storage_.lock();
  if (!storage) return;
  const std::string message = *name_ + " was lost with its engine: its bytes could not be brought back";
  const at::DataPtr old = std::move(storage->_mutable_data_ptr_no_checks());  // the slot dies with it
  storage->set_data_ptr_noswap(at::DataPtr(nullptr, storage->device()));
  storage->release_data_and_set_meta_custom_data_ptr_error_msg_(message);
}

void StorageSlot::recall() const {
  const auto recall = recall_;  // end_loan() clears it
  recall();
}

void StorageSlot::return_block(c10::StorageImpl* storage, chunk::Block block) {
  (void)storage->_mutable_data_ptr_no_checks().release_context();
  storage->*member(ThrowOnRead{}) = false;
  storage->set_data_ptr_noswap(data_ptr_of(std::move(block), storage->device()));
}

// An activation's block becomes its storage's own. False when it does not fit.
bool StorageSlot::release_activation(const std::shared_ptr<evict::Residency>& residency, evict::Resident* resident) {
  const auto tenants = resident->tenants;
  chunk::Block block = residency->surrender(resident, kSurvivorTier);
  if (!block) return false;
  for (auto* tenant : tenants) {
    const std::unique_ptr<StorageSlot> slot(static_cast<StorageSlot*>(tenant));
    if (auto storage = slot->storage_.lock()) slot->return_block(storage.get(), std::move(block));
  }
  return true;
}

void StorageSlot::move_out(StorageSlot* slot, Tier tier) {
  const auto residency = slot->residency_;
  auto storage = slot->storage_.lock();
  if (!storage || storage->nbytes() == 0) return;
  chunk::Block block = residency->allocate(storage->nbytes(), tier);
  residency->hierarchy().copy_within(
      tier, block.data(), residency->address(slot->resident_, tier) + slot->offset_bytes_, storage->nbytes());
  residency->remove_tenant(slot->resident_, slot);
  slot->return_block(storage.get(), std::move(block));
  if (slot->place_) *slot->place_ = nullptr;
  delete slot;
}

// The storages in a chunk are copied out, one by one.
void StorageSlot::release_chunk(const std::shared_ptr<evict::Residency>& residency, evict::Resident* resident) {
  const auto tenants = resident->tenants;
  const evict::Want want{resident, evict::Access::kRead};
  residency->acquire({&want, 1}, kSurvivorTier);
  try {
    for (auto* tenant : tenants) move_out(static_cast<StorageSlot*>(tenant), kSurvivorTier);
  } catch (...) {
    residency->release({&want, 1}, kSurvivorTier);
    throw;
  }
  residency->release({&want, 1}, kSurvivorTier);
}

// torch's own memory on a card is what the pool leaves of it, which may be nothing.
void StorageSlot::stay_on_card(evict::Resident* resident) {
  const evict::Want want{resident, evict::Access::kRead};
  for (auto* tenant : resident->tenants) {
    auto* slot = static_cast<StorageSlot*>(tenant);
    slot->residency_->acquire({&want, 1}, slot->residency_->hierarchy().compute_tier());
    slot->stays_ = true;
  }
}

void StorageSlot::release_survivors(const std::shared_ptr<evict::Residency>& residency) {
  std::vector<evict::Resident*> survivors;
  residency->for_each([&](const evict::Resident& resident) {
    if (!resident.tenants.empty()) survivors.push_back(const_cast<evict::Resident*>(&resident));
  });
  const auto& tiers = residency->hierarchy();
  const bool is_host = tiers.is_host(tiers.compute_tier());
  std::size_t num_left = 0;
  for (auto* resident : survivors) try {
      if (resident->is_pinned())
        ++num_left;  // stays as it is: whoever holds the pin can read it
      else if (!is_host)
        stay_on_card(resident);
      else if (resident->is_chunk)
        release_chunk(residency, resident);
      else
        num_left += release_activation(residency, resident) ? 0 : 1;
    } catch (const Error&) {  // no room, or the drive has failed: the guard says so when somebody looks
      ++num_left;
    }
  if (num_left > 0)
    log::warning(std::to_string(num_left) + " tensors or chunks outlive the last engine and have no room in tiers." +
                 (is_host ? "cpu" : "gpu") + ".limit; they cannot be read");
  bury();
}

}  // namespace asterias::runtime
