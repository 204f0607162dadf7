#include "runtime/model_data.hpp"

#include <algorithm>
#include <cstring>

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/utils.h>

#include "base/byte_size.hpp"
#include "hybrid_adam/norm.hpp"
#include "runtime/allocator.hpp"
#include "runtime/interception.hpp"

namespace asterias::runtime {
namespace {

using chunk::ListKind;

std::uint64_t tensor_bytes(const at::Tensor& tensor) {
  return static_cast<std::uint64_t>(tensor.numel()) * tensor.element_size();
}

// The update is elementwise over the tensor's own range of its storage, whatever the order of its dimensions.
bool is_dense(const at::Tensor& tensor) { return tensor.is_non_overlapping_and_dense() || tensor.numel() == 0; }

// Reaches what a module registered itself without named_parameters(), which copies every tensor and joins every name.
struct Registered : torch::nn::Module {
  static const torch::OrderedDict<std::string, at::Tensor>& by(const torch::nn::Module& module) {
    return module.*(&Registered::parameters_);
  }
};

template <class Visit>
void visit_registered(const torch::nn::Module& module, const Visit& visit) {
  for (const auto& item : Registered::by(module)) visit(item.value().unsafeGetTensorImpl());
  for (const auto& child : module.children())
    if (child) visit_registered(*child, visit);
}

// A module that outlived its engine may join another one.
bool belongs_to_an_engine(const at::Tensor& parameter) {
  const auto* slot = StorageSlot::of(parameter);
  return slot && slot->resident()->is_chunk && !slot->resident()->retired;
}

}  // namespace

// Hands a parameter's gradient over once it is final for this backward (case "1.1 steal" or "2.3 in place" of
// AccumulateGrad).
class ModelData::GradientRoute final : public torch::autograd::PostAccumulateGradHook {
 public:
  GradientRoute(ModelData& data, std::size_t parameter) : data_(data), parameter_(parameter) {}
  void operator()(const torch::autograd::Variable&) override { data_.take_gradient(data_.parameters_[parameter_]); }

 private:
  ModelData& data_;
  const std::size_t parameter_;
};

ModelData::ModelData(std::shared_ptr<Runtime> runtime, const std::shared_ptr<torch::nn::Module>& module,
                     std::uint64_t chunk_limit_bytes, StateLists lists, bool sum_gradients)
    : runtime_(std::move(runtime)), module_(module), lists_(lists), sum_gradients_(sum_gradients) {
  collect_parameters();
  std::vector<chunk::StorageSpec> specs;
  for (const auto& storage : storages_) specs.push_back(storage.spec);
  chunk_bytes_ = chunk::choose_chunk_bytes(specs, chunk_limit_bytes);
  layout_ = chunk::make_layout(specs, chunk_bytes_);
  make_chunks();
  move_in();
  note_registered();
  route_gradients();
}

ModelData::~ModelData() {
  for (auto& record : parameters_) {
    if (!record.trainable) continue;
    torch::autograd::impl::set_post_acc_grad_hooks(record.tensor, nullptr);
    if (record.grad_slot) record.grad_slot->forget_place();
  }
  parameters_.clear();
  storages_.clear();
  module_.reset();
  for (auto& lists : chunks_)
    for (auto* resident : {lists.param, lists.grad, lists.exp_avg, lists.exp_avg_sq})
      if (resident) runtime_->residency().retire(resident);
  bury();
}

void ModelData::collect_parameters() {
  std::vector<std::string> complaints;
  for (const auto& item : module_->named_parameters()) {
    const at::Tensor& parameter = item.value();
    if (!parameter.defined()) continue;
    const bool trainable = parameter.requires_grad();
    if (!parameter.device().is_cpu() || !parameter.has_storage())
      complaints.push_back("parameter '" + item.key() +
                           "' is no CPU tensor with a storage of its own; build the model on the CPU");
    else if (belongs_to_an_engine(parameter))
      complaints.push_back("parameter '" + item.key() + "' belongs to another engine already");
    else if (trainable && parameter.scalar_type() != at::kFloat)
      complaints.push_back(
          "parameter '" + item.key() + "' is " + c10::toString(parameter.scalar_type()) +
          "; this version trains float32 parameters (set requires_grad to false, or build the model in float32)");
    else if (trainable && !is_dense(parameter))
      complaints.push_back("parameter '" + item.key() +
                           "' is a view with gaps or overlaps; register the whole tensor instead");
    else
      collect_parameter(item.key(), parameter);
  }
  if (!complaints.empty()) throw ConfigError(complaints);
}

void ModelData::collect_parameter(const std::string& name, const at::Tensor& parameter) {
  const auto [known, is_new] = by_tensor_.try_emplace(parameter.unsafeGetTensorImpl(), parameters_.size());
  by_name_.emplace(name, known->second);
  if (!is_new) return;
  const auto* storage = parameter.storage().unsafeGetStorageImpl();
  const auto [place, is_first] = by_storage_.try_emplace(storage, storages_.size());
  if (is_first)
    storages_.push_back({parameter.storage(),
                         {storage->nbytes(), static_cast<int>(parameter.scalar_type()), parameter.requires_grad()},
                         "parameter '" + name + "'"});
  else if (parameter.requires_grad())
    storages_[place->second].spec.trainable = true;
  ParameterRecord record;
  record.name = name;
  record.tensor = parameter;
  record.trainable = parameter.requires_grad();
  record.dtype = parameter.scalar_type();
  record.sizes = parameter.sizes().vec();
  record.strides = parameter.strides().vec();
  parameters_.push_back(std::move(record));
  storage_of_.push_back(place->second);
}

void ModelData::note_registered() {
  registered_.clear();
  visit_registered(*module_, [&](const c10::TensorImpl* parameter) { registered_.push_back(parameter); });
}

bool ModelData::is_as_registered() const {
  std::size_t count = 0;
  bool same = true;
  visit_registered(*module_, [&](const c10::TensorImpl* parameter) {
    same &= count < registered_.size() && registered_[count] == parameter;
    ++count;
  });
  return same && count == registered_.size();
}

void ModelData::refuse_new_parameters() {
  if (is_as_registered()) return;
  for (const auto& item : module_->named_parameters())
    if (item.value().defined() && item.value().requires_grad() && !find(item.value()))
      throw StateError(StateError::Cause::kMisuse, "parameter '" + item.key() +
                                                       "' was registered after initialize_engine and would not be "
                                                       "trained; register it in model_func, or set its requires_grad "
                                                       "to false");
  note_registered();
}

void ModelData::make_chunks() {
  auto& residency = runtime_->residency();
  std::int64_t updated = 0;
  for (const auto& spec : layout_.chunks) {
    ChunkLists lists;
    lists.bytes = spec.bytes;
    lists.trainable = spec.trainable;
    const std::int64_t update_index = spec.trainable ? updated++ : -1;
    lists.param = residency.make_chunk(ListKind::kParam, spec.bytes, update_index);
    if (spec.trainable) {
      lists.grad = residency.make_chunk(ListKind::kGrad, spec.bytes, update_index);
      if (lists_.exp_avg) lists.exp_avg = residency.make_chunk(ListKind::kExpAvg, spec.bytes, update_index);
      if (lists_.exp_avg_sq) lists.exp_avg_sq = residency.make_chunk(ListKind::kExpAvgSq, spec.bytes, update_index);
    }
    chunks_.push_back(lists);
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto& record = parameters_[i];
    const auto& place = layout_.places[storage_of_[i]];
    record.chunk = place.chunk;
    record.offset_bytes =
        place.offset_bytes + static_cast<std::uint64_t>(record.tensor.storage_offset()) * record.tensor.element_size();
  }
}

// What the constructor made last is most likely still there, and the first chunks, filled last, are used first. The
// constructor's blocks go back to the system at once: kept for reuse, they would be the model's size once more.
void ModelData::move_in() {
  for (std::size_t i = storages_.size(); i > 0; --i) {
    move_storage_in(i - 1);
    runtime_->residency().hierarchy().pool(runtime_->compute_tier()).trim();
  }
}

void ModelData::move_storage_in(std::size_t index) {
  const auto& place = layout_.places[index];
  move_into_chunk(storages_[index].storage.unsafeGetStorageImpl(), place.chunk, place.offset_bytes,
                  storages_[index].name);
}

void ModelData::move_into_chunk(c10::StorageImpl* storage, std::uint32_t chunk, std::uint64_t offset_bytes,
                                const std::string& name) {
  auto* resident = chunks_[chunk].param;
  auto& residency = runtime_->residency();
  const Tier tier = runtime_->compute_tier();
  if (storage->nbytes() > 0) {
    std::vector<evict::Want> wants{{resident, evict::Access::kWrite}};
    if (auto* slot = StorageSlot::find(runtime_->shared_residency(), storage))
      wants.push_back({slot->resident(), evict::Access::kRead});
    residency.acquire(wants, tier);
    std::memcpy(residency.address(resident, tier) + offset_bytes, storage->data(), storage->nbytes());
    residency.release(wants, tier);
  }
  StorageSlot::settle(runtime_->shared_residency(), storage, resident, offset_bytes, name);
  bury();
}

void ModelData::reclaim() {
  for (const auto& record : parameters_) {
    const auto* slot = record.tensor.has_storage() ? StorageSlot::of(record.tensor) : nullptr;
    if (!slot || slot->resident() != chunks_[record.chunk].param) take_back(record);
  }
}

void ModelData::take_back(const ParameterRecord& record) {
  const at::Tensor& tensor = record.tensor;
  const bool fits = tensor.has_storage() && tensor.device().is_cpu() && tensor.scalar_type() == record.dtype &&
                    tensor.sizes() == at::IntArrayRef(record.sizes) &&
                    tensor.strides() == at::IntArrayRef(record.strides) && tensor.storage_offset() == 0 &&
                    tensor.storage().nbytes() == tensor_bytes(tensor);
  if (!fits)
    throw StateError(StateError::Cause::kMisuse, "parameter '" + record.name +
                                                     "' was given other data (set_data, load, to) of another shape, "
                                                     "dtype or layout than the engine laid out; make "
                                                     "such changes in model_func");
  move_into_chunk(tensor.storage().unsafeGetStorageImpl(), record.chunk, record.offset_bytes,
                  "parameter '" + record.name + "'");
}

void ModelData::route_gradients() {
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (parameters_[i].trainable)
      torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i].tensor, std::make_unique<GradientRoute>(*this, i));
}

void ModelData::take_gradient(ParameterRecord& record) {
  const at::Tensor& gradient = record.tensor.grad();
  // With create_graph the gradient belongs to a graph: it stays an ordinary tensor. So does a sparse one.
  if (!gradient.defined() || at::GradMode::is_enabled() || gradient.grad_fn() || gradient.layout() != at::kStrided)
    return;
  if (gradient.scalar_type() != record.tensor.scalar_type() || gradient.strides() != record.tensor.strides()) return;
  if (!record.grad_slot) {
    const at::NoGradGuard no_grad;
    auto routed =
        StorageSlot::make_tensor(runtime_->shared_residency(), chunks_[record.chunk].grad, record.offset_bytes,
                                 record.tensor, "gradient of '" + record.name + "'", &record.grad_slot);
    routed.copy_(gradient);
    record.tensor.mutable_grad() = std::move(routed);
  }
  // Else it was accumulated in place, or somebody still holds the previous gradient: then the new one stays an ordinary
  // tensor.
  record.grad_sum_writes = ParameterRecord::kNotSummed;
  if (sum_gradients_) grad_square_sum(record);
}

double ModelData::grad_square_sum(ParameterRecord& record) const {
  const at::Tensor& gradient = record.tensor.grad();
  const auto* slot = StorageSlot::of(gradient);
  const bool is_routed = slot && slot == record.grad_slot;
  if (is_routed && record.grad_sum_writes == slot->num_writes()) return record.grad_square_sum;
  const at::NoGradGuard no_grad;
  const at::Tensor dense = is_dense(gradient) ? gradient : gradient.contiguous();
  const Pin pin(runtime_->shared_residency(), {dense}, evict::Access::kRead);
  record.grad_square_sum =
      hybrid_adam::sum_of_squares(dense.const_data_ptr<float>(), static_cast<std::size_t>(dense.numel()));
  record.grad_sum_writes = is_routed ? slot->num_writes() : ParameterRecord::kNotSummed;
  return record.grad_square_sum;
}

std::uint64_t ModelData::num_elements() const {
  std::uint64_t count = 0;
  for (const auto& record : parameters_) count += static_cast<std::uint64_t>(record.tensor.numel());
  return count;
}

std::uint64_t ModelData::model_data_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& lists : chunks_)
    for (const auto* resident : {lists.param, lists.grad, lists.exp_avg, lists.exp_avg_sq})
      if (resident) bytes += lists.bytes;
  return bytes;
}

std::uint64_t ModelData::update_working_set_bytes() const {
  std::uint64_t most = 0;
  for (const auto& lists : chunks_) {
    std::uint64_t pinned = 0;
    for (const auto* resident : {lists.param, lists.grad, lists.exp_avg, lists.exp_avg_sq})
      if (resident && lists.trainable) pinned += round_up(lists.bytes, device::kPageBytes);
    most = std::max(most, pinned);
  }
  return most;
}

ParameterRecord* ModelData::find(const std::string& name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &parameters_[found->second];
}

ParameterRecord* ModelData::find(const at::Tensor& tensor) {
  const auto found = by_tensor_.find(tensor.unsafeGetTensorImpl());
  return found == by_tensor_.end() ? nullptr : &parameters_[found->second];
}

at::Tensor ModelData::copy_out(const at::Tensor& tensor, at::OptionalIntArrayRef strides) const {
  // Not a tensor of our allocator on purpose: it would be adopted, and could be absent when its owner reads it by
  // pointer.
  auto block = std::make_shared<chunk::Block>(
      runtime_->residency().allocate(std::max<std::uint64_t>(tensor_bytes(tensor), 1), Tier::kCpu));
  bury();
  const auto free = [block](void*) {};
  const auto options = at::TensorOptions().dtype(tensor.dtype());
  auto copy = strides ? at::from_blob(block->data(), tensor.sizes(), *strides, free, options)
                      : at::from_blob(block->data(), tensor.sizes(), free, options);
  const at::NoGradGuard no_grad;
  copy.copy_(tensor.detach());
  return copy;
}

}  // namespace asterias::runtime
