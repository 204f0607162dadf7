#include "runtime/host_operators.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/COW.h>

#include "runtime/allocator.hpp"
#include "runtime/interception.hpp"
#include "runtime/storage_slot.hpp"

namespace asterias::runtime {
namespace {

bool lies_in_a_table(const at::Tensor& tensor) {
  const auto* slot = StorageSlot::of(tensor);
  return slot && slot->resident() && slot->resident()->is_table;
}

bool has_plain_bytes(const at::Tensor& tensor) {
  if (tensor.layout() != at::kStrided || tensor.is_conj() || tensor.is_neg()) return false;
  auto* storage = tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
  return !c10::impl::cow::is_cow_data_ptr(storage->_mutable_data_ptr_no_checks());
}

bool is_pinned_above(const Runtime& runtime, const at::Tensor& tensor) {
  const auto* slot = StorageSlot::of(tensor);
  return slot && slot->resident() && runtime.residency().is_pinned(slot->resident(), runtime.compute_tier());
}

// Who holds a pin writes on the compute tier, and says so once.
bool has_pointers(const Runtime& runtime, const at::Tensor& tensor) {
  return lies_in_a_table(tensor) && is_pinned_above(runtime, tensor);
}

// What CPU tensors hold on the cpu tier, the card's included.
class HostViews {
 public:
  explicit HostViews(const Runtime& runtime) : runtime_(runtime) {}

  at::Tensor of(const at::Tensor& tensor) {
    const auto item_size = static_cast<std::int64_t>(tensor.element_size());
    return at::from_blob(bytes_of(tensor) + tensor.storage_offset() * item_size, tensor.sizes(), tensor.strides(),
                         tensor.scalar_type());
  }

 private:
  std::byte* bytes_of(const at::Tensor& tensor) {
    auto* storage = tensor.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
    auto& residency = runtime_.residency();
    if (const auto* slot = StorageSlot::find(runtime_.shared_residency(), storage))
      return residency.address(slot->resident(), Tier::kCpu) + slot->offset_bytes();
    auto* data = static_cast<std::byte*>(storage->_mutable_data_ptr_no_checks().get());
    if (storage->device().is_cpu() || storage->nbytes() == 0) return data;
    auto& copy = copies_.emplace_back(residency.allocate(storage->nbytes(), Tier::kCpu));
    residency.hierarchy().copy_out(Tier::kGpu, copy.data(), data, storage->nbytes());
    return copy.data();
  }

  const Runtime& runtime_;
  std::vector<chunk::Block> copies_;  // of what is a card's and too small to be a resident
};

// What a kernel writes there need not go anywhere else.
bool lies_on_host(const Runtime& runtime, const at::Tensor& tensor) {
  if (lies_in_a_table(tensor)) return true;
  if (!tensor.device().is_cpu() || StorageSlot::of(tensor)) return false;
  const auto* block = block_of(tensor.storage().unsafeGetStorageImpl());
  return !block || block->pool()->tier() != runtime.compute_tier();
}

bool is_gradient_of_a_table(const at::Tensor& tensor) {
  return lies_in_a_table(tensor) && !StorageSlot::of(tensor)->resident()->is_chunk;
}

// As autograd adds up what reaches one parameter from several operators, which rounds alike on every device.
bool sums_gradients(const Runtime& runtime, const OperatorInfo& info, c10::ArrayRef<c10::IValue> arguments) {
  if (arguments.size() != 3 || !arguments[0].isTensor() || !arguments[1].isTensor()) return false;
  const at::Tensor& sum = arguments[0].toTensor();
  const at::Tensor& term = arguments[1].toTensor();
  if (!is_gradient_of_a_table(sum) && !is_gradient_of_a_table(term)) return false;
  if (is_pinned_above(runtime, sum) || is_pinned_above(runtime, term)) return false;
  if (info.uses[0] == Use::kWrite && !StorageSlot::of(sum)) return false;  // nothing would bring it back
  return sum.sizes() == term.sizes() && sum.scalar_type() == term.scalar_type() && arguments[2].toScalar().equal(1);
}

at::Tensor of_computing_device(const Runtime& runtime, const at::Tensor& host) {
  if (auto tensor = StorageSlot::adopt_host(runtime.shared_residency(), host, runtime.device()); tensor.defined())
    return tensor;
  if (runtime.device().is_cpu()) return host;
  auto tensor = at::empty_strided(host.sizes(), host.strides(), host.options().device(runtime.device()));
  if (host.numel() == 0) return tensor;
  runtime.residency().hierarchy().copy_in(runtime.compute_tier(), static_cast<std::byte*>(tensor.mutable_data_ptr()),
                                          static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes());
  return tensor;
}

}  // namespace

bool runs_on_host(const Runtime& runtime, const OperatorInfo& info, c10::ArrayRef<c10::IValue> arguments) {
  if (info.on_tables == OnTables::kNone || !runtime.has_tables()) return false;
  bool is_on_table = false;
  for (const auto& argument : arguments) {
    if (!argument.isTensor() || !argument.toTensor().defined()) continue;
    const at::Tensor& tensor = argument.toTensor();
    if (!has_plain_bytes(tensor) || !runtime.serves(tensor.device()) || has_pointers(runtime, tensor)) return false;
    is_on_table |= lies_in_a_table(tensor);
  }
  if (info.on_tables == OnTables::kGradient) return true;
  if (info.on_tables == OnTables::kLookUp || !is_on_table) return is_on_table;
  const at::Tensor& first = arguments[0].toTensor();
  const bool is_partial_sum = info.on_tables == OnTables::kSum && is_gradient_of_a_table(first);
  if (info.uses[0] == Use::kWrite && !is_partial_sum && lies_on_host(runtime, first)) return true;
  return info.on_tables == OnTables::kSum && sums_gradients(runtime, info, arguments);
}

void run_on_host(const std::shared_ptr<Runtime>& runtime, const c10::OperatorHandle& op, const OperatorInfo& info,
                 torch::jit::Stack& stack) {
  const auto arguments = torch::jit::last(stack, info.uses.size());
  HostViews views(*runtime);
  torch::jit::Stack host;
  for (const auto& argument : arguments) {
    const bool is_tensor = argument.isTensor() && argument.toTensor().defined();
    host.push_back(is_tensor ? c10::IValue(views.of(argument.toTensor())) : argument);
  }
  const torch::jit::Stack viewed = host;
  {
    const OutOfScope unseen;  // what is made lies on the cpu tier
    op.callBoxed(host);
  }
  for (auto& output : host) {
    const auto is_same = [&](const c10::IValue& view) {
      return view.isTensor() && view.toTensor().is_same(output.toTensor());
    };
    const auto found = std::find_if(viewed.begin(), viewed.end(), is_same);
    output = found != viewed.end() ? arguments[static_cast<std::size_t>(found - viewed.begin())]
                                   : c10::IValue(of_computing_device(*runtime, output.toTensor()));
    if (info.on_tables == OnTables::kGradient || info.on_tables == OnTables::kSum)
      if (const auto* slot = StorageSlot::of(output.toTensor())) runtime->residency().mark_table(slot->resident());
  }
  torch::jit::drop(stack, info.uses.size());
  for (auto& output : host) torch::jit::push(stack, std::move(output));
}

}  // namespace asterias::runtime
