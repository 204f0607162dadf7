#include "runtime/model_data.hpp"

#include <algorithm>
#include <cstring>

#include <ATen/ops/from_blob.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/SmallVector.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/nn/modules/embedding.h>
#include <torch/utils.h>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "hybrid_adam/array_casts.hpp"
#include "hybrid_adam/norm.hpp"
#include "runtime/allocator.hpp"
#include "runtime/interception.hpp"

namespace asterias::runtime {
namespace {

using chunk::ListKind;
using hybrid_adam::StateCodec;

std::uint64_t tensor_bytes(const at::Tensor& tensor) {
  return static_cast<std::uint64_t>(tensor.numel()) * tensor.element_size();
}

// As laid out: the user may have given the tensor other data since.
std::size_t laid_out_elements(const ParameterRecord& record) {
  return static_cast<std::size_t>(c10::multiply_integers(record.sizes));
}

bool has_laid_out_shape(const ParameterRecord& record) {
  return record.tensor.sizes() == at::IntArrayRef(record.sizes) &&
         record.tensor.strides() == at::IntArrayRef(record.strides);
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

bool is_trained_in(at::ScalarType dtype) { return dtype == at::kFloat || is_16_bit(dtype); }

at::Tensor over(const void* bytes, at::ScalarType dtype, at::IntArrayRef sizes, at::IntArrayRef strides) {
  return at::from_blob(const_cast<void*>(bytes), sizes, strides, dtype);
}

// torch's own rounding, out of the interception's sight.
void convert(const void* from, at::ScalarType from_dtype, void* to, at::ScalarType dtype, std::size_t count) {
  const c10::impl::ExcludeDispatchKeyGuard unseen(c10::DispatchKey::Fake);
  const at::NoGradGuard no_grad;
  const auto size = static_cast<std::int64_t>(count);
  over(to, dtype, {size}, {1}).copy_(over(from, from_dtype, {size}, {1}));
}

// Where a 16-bit value is not its master rounded, the master becomes it. Block by block.
template <class Half>
void follow(const std::byte* bytes, float* master, std::size_t count) {
  std::array<Half, 4096> rounded;
  const auto* values = reinterpret_cast<const Half*>(bytes);
  for (std::size_t begin = 0; begin < count; begin += rounded.size()) {
    const std::size_t size = std::min(rounded.size(), count - begin);
    hybrid_adam::cast(master + begin, {rounded.data(), number_type(c10::CppTypeToScalarType<Half>::value)}, size);
    for (std::size_t i = 0; i < size; ++i)
      if (rounded[i].x != values[begin + i].x) master[begin + i] = static_cast<float>(values[begin + i]);
  }
}

// Residents pinned on a tier while this lives.
class Held {
 public:
  using Wants = c10::SmallVector<evict::Want, 2>;

  Held(evict::Residency& residency, Wants wants, Tier tier)
      : residency_(residency), wants_(std::move(wants)), tier_(tier) {
    residency_.acquire(wants_, tier_);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    residency_.release(wants_, tier_);
    bury();
  }

  std::byte* address(const evict::Resident* resident) const { return residency_.address(resident, tier_); }

 private:
  evict::Residency& residency_;
  const Wants wants_;
  const Tier tier_;
};

bool shares_storage(const at::Tensor& tensor, const c10::Storage& storage) {
  return tensor.storage().unsafeGetStorageImpl() == storage.unsafeGetStorageImpl();
}

c10::Storage empty_storage(std::size_t bytes, c10::Device device) {
  return c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes, at::DataPtr(nullptr, device),
                                               allocator_of(device), true);
}

}  // namespace

// Copies by torch's kernel on a device, with its threads or in its stream, without making tensors for it.
class ModelData::ByteCopy {
 public:
  explicit ByteCopy(c10::Device device) : to_(empty(device)), from_(empty(device)) {}

  void operator()(std::byte* to, const std::byte* from, std::uint64_t bytes) {
    const OutOfScope unseen;
    const at::NoGradGuard no_grad;
    point(to_, to, bytes);
    point(from_, const_cast<std::byte*>(from), bytes);
    to_.copy_(from_);
  }

 private:
  static at::Tensor empty(c10::Device device) {
    return at::detail::make_tensor<c10::TensorImpl>(empty_storage(0, device), c10::DispatchKeySet(key_of(device)),
                                                    c10::scalarTypeToTypeMeta(at::kByte));
  }
  static void point(const at::Tensor& tensor, std::byte* data, std::uint64_t bytes) {
    auto* storage = tensor.storage().unsafeGetStorageImpl();
    storage->set_data_ptr_noswap(at::DataPtr(data, storage->device()));
    storage->set_nbytes(bytes);
    tensor.unsafeGetTensorImpl()->set_sizes_contiguous({static_cast<std::int64_t>(bytes)});
  }

  at::Tensor to_, from_;
};

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
                     Precision precision, std::uint64_t chunk_limit_elements, StateLists lists, bool sum_gradients,
                     GradMode grad_mode, bool looks_up_on_host)
    : runtime_(std::move(runtime)),
      module_(module),
      precision_(std::move(precision)),
      lists_(std::move(lists)),
      sum_gradients_(sum_gradients),
      grad_mode_(grad_mode) {
  collect_parameters();
  choose_dtypes();
  choose_codecs();
  if (looks_up_on_host && runtime_->compute_tier() != Tier::kCpu) find_tables(*module_);
  std::vector<chunk::StorageSpec> specs;
  for (const auto& storage : storages_) specs.push_back(storage.spec());
  chunk_bytes_ = chunk::choose_chunk_bytes(specs, chunk_limit_bytes(chunk_limit_elements));
  layout_ = chunk::make_layout(specs, chunk_bytes_);
  make_chunks();
  for (std::size_t i = 0; i < parameters_.size(); ++i) place_parameter(i);
  move_in();
  note_registered();
  copy_ = std::make_unique<ByteCopy>(runtime_->device());
  host_copy_ = std::make_unique<ByteCopy>(c10::kCPU);
  route_gradients();
  if (sum_gradients_) prepare_norms();
}

ModelData::~ModelData() {
  end_all_loans();
  for (auto& record : parameters_) {
    if (!record.trainable) continue;
    torch::autograd::impl::set_post_acc_grad_hooks(record.tensor, nullptr);
    if (record.grad_slot) record.grad_slot->forget_place();
  }
  parameters_.clear();
  storages_.clear();
  module_.reset();
  for (auto& lists : chunks_)
    for (auto* resident : lists.all())
      if (resident) runtime_->residency().retire(resident);
  bury();
}

void ModelData::collect_parameters() {
  std::vector<std::string> complaints;
  for (const auto& item : module_->named_parameters()) {
    const at::Tensor& parameter = item.value();
    if (!parameter.defined()) continue;
    if (!can_take(parameter.device()) || !parameter.has_storage())
      complaints.push_back("parameter '" + item.key() + "' is on device " + parameter.device().str() +
                           " or has no storage of its own; build the model on the CPU");
    else if (belongs_to_an_engine(parameter))
      complaints.push_back("parameter '" + item.key() + "' belongs to another engine already");
    else if (parameter.requires_grad() && !is_dense(parameter))
      complaints.push_back("parameter '" + item.key() +
                           "' is a view with gaps or overlaps; register the whole tensor instead");
    else
      collect_parameter(item.key(), parameter);
  }
  if (!complaints.empty()) throw ConfigError(complaints);
}

// Of the CPU, where constructors make them, or where they go.
bool ModelData::can_take(c10::Device device) const { return device.is_cpu() || device == runtime_->device(); }

void ModelData::collect_parameter(const std::string& name, const at::Tensor& parameter) {
  const auto [known, is_new] = by_tensor_.try_emplace(parameter.unsafeGetTensorImpl(), parameters_.size());
  by_name_.emplace(name, known->second);
  collect_storage(name, parameter);
  if (!is_new) return;
  ParameterRecord record;
  record.name = name;
  record.grad_name = std::make_shared<const std::string>("gradient of '" + name + "'");
  record.tensor = parameter;
  record.trainable = parameter.requires_grad();
  record.sizes = parameter.sizes().vec();
  record.strides = parameter.strides().vec();
  parameters_.push_back(std::move(record));
  const auto storage = by_storage_.at(parameter.storage().unsafeGetStorageImpl());
  storage_of_.push_back(storage);
  ++storages_[storage].num_parameters;
}

// A storage is cast as a whole or not at all: whatever shares it goes on sharing it.
void ModelData::collect_storage(const std::string& name, const at::Tensor& parameter) {
  const auto dtype = parameter.scalar_type();
  const auto [place, is_first] = by_storage_.try_emplace(parameter.storage().unsafeGetStorageImpl(), storages_.size());
  if (is_first)
    storages_.push_back({parameter.storage(), dtype, precision_.cast(dtype), 0, false, "parameter '" + name + "'"});
  auto& record = storages_[place->second];
  record.trainable |= parameter.requires_grad();
  if (precision_.keeps(name) || dtype != record.given_dtype) record.dtype = record.given_dtype;
}

void ModelData::choose_dtypes() {
  std::vector<std::string> complaints;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto& record = parameters_[i];
    const auto& storage = storages_[storage_of_[i]];
    record.dtype = storage.dtype == storage.given_dtype ? record.tensor.scalar_type() : storage.dtype;
    record.fills_storage =
        storage.num_parameters == 1 && tensor_bytes(record.tensor) == record.tensor.storage().nbytes();
    if (record.trainable && record.tensor.scalar_type() != storage.given_dtype)
      complaints.push_back("parameter '" + record.name + "' shares its storage with one of another dtype");
    else if (record.trainable && !is_trained_in(record.dtype))
      complaints.push_back("parameter '" + record.name + "' is " + c10::toString(record.dtype) +
                           "; parameters are trained in float32, float16 and bfloat16 (set requires_grad to false, or "
                           "build the model in one of these)");
  }
  if (!complaints.empty()) throw ConfigError(complaints);
}

// State is laid out with its storage, and blocks of 8 bits are counted from where a tensor starts.
void ModelData::choose_codecs() {
  std::vector<std::string> complaints;
  std::vector<bool> is_chosen(storages_.size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& record = parameters_[i];
    if (!record.trainable) continue;
    auto& storage = storages_[storage_of_[i]];
    const auto codec = lists_.codec_of(record.name, record.tensor);
    if (is_chosen[storage_of_[i]] && codec != storage.state_codec)
      complaints.push_back("parameter '" + record.name + "' shares its storage with one of another state_dtype");
    else if (codec == StateCodec::kBlock8 && record.tensor.storage_offset() % hybrid_adam::kBlock8SlotElements != 0)
      complaints.push_back("parameter '" + record.name + "' starts at element " +
                           std::to_string(record.tensor.storage_offset()) +
                           " of a storage that it shares; with state_dtype \"8bit\" that must be a multiple of " +
                           std::to_string(hybrid_adam::kBlock8SlotElements) +
                           " (give it a storage of its own, or all that share this one another state_dtype in "
                           "optimizer.param_groups)");
    storage.state_codec = codec;
    is_chosen[storage_of_[i]] = true;
  }
  if (!complaints.empty()) throw ConfigError(complaints);
}

void ModelData::find_tables(const torch::nn::Module& module) {
  if (const auto* embedding = module.as<torch::nn::Embedding>(); embedding && !embedding->options.sparse()) {
    const auto found = by_storage_.find(embedding->weight.storage().unsafeGetStorageImpl());
    if (found != by_storage_.end()) storages_[found->second].is_table = true;  // else it is no parameter any more
    runtime_->note_tables();
  }
  for (const auto& child : module.children())
    if (child) find_tables(*child);
}

chunk::StorageSpec ModelData::StorageRecord::spec() const {
  const auto bytes = storage.nbytes() / at::elementSize(given_dtype) * at::elementSize(dtype);
  return {dtype == given_dtype ? storage.nbytes() : bytes, static_cast<int>(dtype), trainable,
          static_cast<int>(state_codec), is_table};
}

// The limit holds for the trained chunks with the smallest elements.
std::uint64_t ModelData::chunk_limit_bytes(std::uint64_t limit_elements) const {
  std::uint64_t element_bytes = sizeof(float);
  for (const auto& storage : storages_)
    if (storage.trainable) element_bytes = std::min<std::uint64_t>(element_bytes, at::elementSize(storage.dtype));
  return limit_elements * element_bytes;
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

// A gradient needs a master beside it, from which its parameter comes back, elements of the same size, and a place that
// is one parameter's alone. By chunk.
std::vector<bool> ModelData::find_lending_chunks() const {
  std::vector<bool> lends;
  for (const auto& spec : layout_.chunks) {
    const auto dtype = static_cast<at::ScalarType>(spec.dtype);
    lends.push_back(reuses_places() && spec.trainable && !spec.is_table && is_16_bit(dtype) &&
                    precision_.gradient_of(dtype) == dtype);
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (!parameters_[i].fills_storage) lends[layout_.places[storage_of_[i]].chunk] = false;
  if (reuses_places() && std::find(lends.begin(), lends.end(), true) == lends.end())
    throw ConfigError(
        "placement.grad_mode: \"reuse\" lets a gradient take the place of its 16-bit parameter, which comes back from "
        "its fp32 master, and this model has no such parameter; set fp16.enabled or bf16.enabled, or choose "
        "\"separate\"");
  return lends;
}

void ModelData::make_chunks() {
  const auto lends = find_lending_chunks();
  std::int64_t updated = 0;
  for (const auto& spec : layout_.chunks) {
    ChunkLists lists;
    lists.dtype = static_cast<at::ScalarType>(spec.dtype);
    lists.grad_dtype = precision_.gradient_of(lists.dtype);
    lists.num_elements = spec.bytes / at::elementSize(lists.dtype);
    lists.used_bytes = spec.used_bytes;
    lists.trainable = spec.trainable;
    lists.state_codec = static_cast<StateCodec>(spec.state);
    lists.is_table = spec.is_table;
    const std::int64_t at = spec.trainable ? updated++ : -1;
    lists.param = make_list(ListKind::kParam, lists, lists.dtype, at);
    if (spec.trainable) {
      if (!lends[chunks_.size()]) lists.grad = make_list(ListKind::kGrad, lists, lists.grad_dtype, at);
      if (is_16_bit(lists.dtype)) lists.master = make_list(ListKind::kMaster, lists, at::kFloat, at);
      if (lists_.exp_avg) lists.exp_avg = make_moments(ListKind::kExpAvg, lists, at);
      if (lists_.exp_avg_sq) lists.exp_avg_sq = make_moments(ListKind::kExpAvgSq, lists, at);
    }
    for (auto* list : lists.all())
      if (list && lists.is_table) runtime_->residency().mark_table(list);
    chunks_.push_back(lists);
  }
}

evict::Resident* ModelData::make_list(ListKind kind, const ChunkLists& lists, at::ScalarType dtype,
                                      std::int64_t index) {
  return runtime_->residency().make_chunk(kind, lists.num_elements * at::elementSize(dtype), index);
}

evict::Resident* ModelData::make_moments(ListKind kind, const ChunkLists& lists, std::int64_t index) {
  return runtime_->residency().make_chunk(kind, hybrid_adam::moment_list_bytes(lists.state_codec, lists.num_elements),
                                          index);
}

void ModelData::place_parameter(std::size_t index) {
  auto& record = parameters_[index];
  const auto& place = layout_.places[storage_of_[index]];
  record.chunk = place.chunk;
  record.offset =
      place.offset_bytes / at::elementSize(record.dtype) + static_cast<std::uint64_t>(record.tensor.storage_offset());
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
  auto& record = storages_[index];
  const auto& place = layout_.places[index];
  record.storage = move_into_chunk(record.storage, record.given_dtype, place.chunk,
                                   place.offset_bytes / at::elementSize(record.dtype),
                                   std::make_shared<const std::string>(record.name));
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (storage_of_[i] == index && !shares_storage(parameters_[i].tensor, record.storage))
      give_storage(parameters_[i], record.storage, parameters_[i].tensor.storage_offset());
}

// Returns the storage that lies there from now on: a new one where the chunk has another dtype, or is a card's.
c10::Storage ModelData::move_into_chunk(const c10::Storage& storage, at::ScalarType dtype, std::uint32_t chunk,
                                        std::uint64_t offset, StorageSlot::Name name) {
  const auto& lists = chunks_[chunk];
  if (lists.master) copy_elements(storage, dtype, lists.master, at::kFloat, offset, Tier::kCpu);
  copy_elements(storage, dtype, lists.param, lists.dtype, offset, lists.is_table ? Tier::kCpu : runtime_->host_tier());
  const bool stays = dtype == lists.dtype && storage.device() == runtime_->device();
  const auto moved = stays ? storage
                           : empty_storage(storage.nbytes() / at::elementSize(dtype) * at::elementSize(lists.dtype),
                                           runtime_->device());
  StorageSlot::settle(runtime_->shared_residency(), moved.unsafeGetStorageImpl(), lists.param,
                      offset * at::elementSize(lists.dtype), std::move(name));
  bury();
  return moved;
}

void ModelData::copy_elements(const c10::Storage& from, at::ScalarType from_dtype, evict::Resident* list,
                              at::ScalarType dtype, std::uint64_t offset, Tier tier) {
  if (from.nbytes() == 0) return;
  auto* storage = from.unsafeGetStorageImpl();
  const auto* slot = StorageSlot::find(runtime_->shared_residency(), storage);
  Held::Wants wants{{list, evict::Access::kWrite}};
  if (slot) wants.push_back({slot->resident(), evict::Access::kRead});
  const Held held(runtime_->residency(), std::move(wants), tier);
  const void* source = slot ? held.address(slot->resident()) + slot->offset_bytes() : storage->data();
  chunk::Block copy;  // of what is a card's and too small to be a resident
  if (!slot && !from.device().is_cpu()) {
    copy = runtime_->residency().allocate(from.nbytes(), Tier::kCpu);
    runtime_->residency().hierarchy().copy_out(Tier::kGpu, copy.data(), static_cast<const std::byte*>(source),
                                               from.nbytes());
    source = copy.data();
  }
  auto* target = held.address(list) + offset * at::elementSize(dtype);
  if (dtype == from_dtype)
    std::memcpy(target, source, from.nbytes());
  else
    convert(source, from_dtype, target, dtype, from.nbytes() / at::elementSize(from_dtype));
}

// As module.to(dtype) does it.
void ModelData::give_storage(const ParameterRecord& record, const c10::Storage& storage, std::int64_t storage_offset) {
  auto data = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(key_of(storage.device())), c10::scalarTypeToTypeMeta(record.dtype));
  data.unsafeGetTensorImpl()->set_sizes_and_strides(record.sizes, record.strides, storage_offset);
  record.tensor.set_data(data);
}

void ModelData::reclaim() {
  for (auto& record : parameters_) {
    if (!lies_in_place(record)) {
      if (record.lent) recall(record);  // or its gradient would be overwritten
      take_back(record);
    } else if (const auto num_writes = StorageSlot::of(record.tensor)->num_writes(); num_writes != record.num_writes) {
      follow_writes(record, num_writes);
    }
  }
}

bool ModelData::lies_in_place(const ParameterRecord& record) const {
  const at::Tensor& tensor = record.tensor;
  const auto* slot = tensor.has_storage() ? StorageSlot::of(tensor) : nullptr;
  if (!slot || slot->resident() != chunks_[record.chunk].param || !has_laid_out_shape(record)) return false;
  const auto size = at::elementSize(record.dtype);
  return slot->offset_bytes() + static_cast<std::uint64_t>(tensor.storage_offset()) * size == record.offset * size;
}

void ModelData::take_back(ParameterRecord& record) {
  const at::Tensor& tensor = record.tensor;
  const auto dtype = tensor.scalar_type();
  const bool becomes_master = dtype == at::kFloat && chunks_[record.chunk].master;
  const bool fits = tensor.has_storage() && can_take(tensor.device()) && (dtype == record.dtype || becomes_master) &&
                    has_laid_out_shape(record) && tensor.storage_offset() == 0 &&
                    tensor.storage().nbytes() == tensor_bytes(tensor);
  if (!fits)
    throw StateError(StateError::Cause::kMisuse, "parameter '" + record.name +
                                                     "' was given other data (set_data, load, to) of another shape, "
                                                     "dtype or layout than the engine laid out; make "
                                                     "such changes in model_func");
  if (const auto* slot = StorageSlot::of(tensor); slot && slot->resident()->is_chunk)
    throw StateError(StateError::Cause::kMisuse, "parameter '" + record.name + "' was given the data of " +
                                                     slot->name() +
                                                     " itself; give it a copy (set_data(data.clone())), or tie the "
                                                     "two in model_func");
  const auto moved = move_into_chunk(tensor.storage(), dtype, record.chunk, record.offset,
                                     std::make_shared<const std::string>("parameter '" + record.name + "'"));
  if (!shares_storage(tensor, moved)) give_storage(record, moved, 0);
  record.num_writes = 0;
}

// Values that are no longer their masters' rounding were written in place, and are the masters now.
void ModelData::follow_writes(ParameterRecord& record, std::uint64_t num_writes) {
  record.num_writes = num_writes;
  const auto& lists = chunks_[record.chunk];
  if (!lists.master) return;
  const Held held(runtime_->residency(), {{lists.param, evict::Access::kRead}, {lists.master, evict::Access::kWrite}},
                  Tier::kCpu);
  const auto* values = held.address(lists.param) + record.offset * at::elementSize(lists.dtype);
  auto* master = reinterpret_cast<float*>(held.address(lists.master)) + record.offset;
  const auto count = static_cast<std::size_t>(record.tensor.numel());
  if (lists.dtype == at::kHalf)
    follow<at::Half>(values, master, count);
  else
    follow<at::BFloat16>(values, master, count);
}

void ModelData::route_gradients() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const auto& record = parameters_[i];
    if (!record.trainable) continue;
    const auto grad_dtype = chunks_[record.chunk].grad_dtype;
    const auto& grad = record.tensor.grad();
    const bool is_elsewhere = grad.defined() && grad.device() != record.tensor.device();
    const bool changes = precision_.half() || grad_dtype != record.dtype || is_elsewhere;
    if (changes) record.tensor.mutable_grad().reset();  // one from before the engine differs in dtype, scale or device
    if (grad_dtype != record.dtype) record.tensor.set_grad_dtype(grad_dtype);
    torch::autograd::impl::set_post_acc_grad_hooks(record.tensor, std::make_unique<GradientRoute>(*this, i));
  }
}

// Dropped, because the optimizer would take it for a scaled one.
void ModelData::refuse_unscaled(ParameterRecord& record) const {
  if (takes_gradients_) return;
  record.tensor.mutable_grad().reset();
  throw StateError(StateError::Cause::kMisuse,
                   "fp16: the gradient of '" + record.name +
                       "' is that of a loss without this engine's loss scale and was dropped; call "
                       "engine.backward(loss) instead of loss.backward(), and while another engine's backward goes "
                       "through this module, freeze its parameters (requires_grad_(false))");
}

void ModelData::take_gradient(ParameterRecord& record) {
  refuse_unscaled(record);
  if (!fits_place(record) || !route_gradient(record)) return;
  record.grad_sum_writes = ParameterRecord::kNotSummed;
  if (sum_gradients_) sum_gradient(record);
  if (on_final_) on_final_(record);
}

// With create_graph the gradient belongs to a graph: it stays an ordinary tensor. So does a sparse one.
bool ModelData::fits_place(const ParameterRecord& record) const {
  const at::Tensor& gradient = record.tensor.grad();
  return gradient.defined() && !at::GradMode::is_enabled() && !gradient.grad_fn() &&
         gradient.layout() == at::kStrided && gradient.scalar_type() == chunks_[record.chunk].grad_dtype &&
         gradient.strides() == record.tensor.strides();
}

// Brings the gradient into its slot, unless it was accumulated there in place, or somebody still holds the previous
// gradient: then the new one stays an ordinary tensor. False where the slot cannot be had.
bool ModelData::route_gradient(ParameterRecord& record) {
  const auto& lists = chunks_[record.chunk];
  if (lists.lends() && !lend(record)) return false;
  if (record.grad_slot || keep_gradient(record)) return true;
  if (settle_gradient_storage(record)) {
    if (runtime_->debug().evict_always) runtime_->residency().evict_all();
    bury();
    return true;
  }
  const at::NoGradGuard no_grad;
  auto routed = StorageSlot::make_tensor(runtime_->shared_residency(), lists.grad_home(),
                                         record.offset * at::elementSize(lists.grad_dtype), record.tensor,
                                         lists.grad_dtype, record.grad_name, &record.grad_slot);
  routed.copy_(record.tensor.grad());
  record.tensor.mutable_grad() = std::move(routed);
  return true;
}

// False where the gradient's storage is more than the gradient, lies in a chunk already or is not of our memory.
bool ModelData::owns_memory(const at::Tensor& gradient, const ChunkLists& lists) const {
  auto* storage = gradient.storage().unsafeGetStorageImpl();
  const auto* slot = StorageSlot::find(runtime_->shared_residency(), storage);
  const bool is_whole = gradient.storage_offset() == 0 && storage->nbytes() == tensor_bytes(gradient);
  return is_whole && (slot ? !slot->resident()->is_chunk : !lists.is_table && block_of(storage));
}

// A chunk is there to be moved. Where nothing has to, the update reads the gradient where it was made, and the copy
// into the chunk is spared.
bool ModelData::keep_gradient(ParameterRecord& record) {
  const at::Tensor& gradient = record.tensor.grad();
  const auto& lists = chunks_[record.chunk];
  if (!runtime_->is_all_there() || lists.lends() || !owns_memory(gradient, lists)) return false;
  record.kept = gradient.storage().getWeakStorageImpl();
  if (const auto* slot = StorageSlot::of(gradient)) runtime_->residency().count_as_gradient(slot->resident());
  return true;
}

// The slot becomes the memory of the gradient's own storage: whoever shares that sees what he would in plain libtorch.
// False where that memory is not its own, and where the update writes over it.
bool ModelData::settle_gradient_storage(ParameterRecord& record) {
  const at::Tensor& gradient = record.tensor.grad();
  const auto& lists = chunks_[record.chunk];
  if (lists.lends() || !owns_memory(gradient, lists)) return false;
  auto* storage = gradient.storage().unsafeGetStorageImpl();
  const auto* slot = StorageSlot::of(storage);
  release_last_outputs();
  auto& residency = runtime_->residency();
  if (slot && residency.is_pinned(slot->resident())) return false;  // somebody has a pointer
  runtime_->check_stream();
  runtime_->work_between_operators();
  constexpr const char* kName = "aten::copy_";
  residency.begin_operator(kName, index_of(record));
  const std::uint64_t offset = record.offset * at::elementSize(lists.grad_dtype);
  Held::Wants wants{{lists.grad_home(), evict::Access::kWrite, offset, storage->nbytes()}};
  if (slot) wants.push_back({slot->resident(), evict::Access::kRead});
  const Held held(residency, std::move(wants), lists.is_table ? Tier::kCpu : runtime_->compute_tier());
  auto* const place = held.address(lists.grad_home()) + offset;
  const auto* const from = slot ? held.address(slot->resident()) : static_cast<const std::byte*>(storage->data());
  const auto start = evict::Residency::Clock::now();
  (lists.is_table ? *host_copy_ : *copy_)(place, from, storage->nbytes());
  residency.record_operator(kName, start, evict::Residency::Clock::now());
  StorageSlot::settle(runtime_->shared_residency(), storage, lists.grad_home(), offset, record.grad_name,
                      lists.is_table ? nullptr : place, &record.grad_slot);
  return true;
}

// ---- places lent to gradients ---------------------------------------------------------------------------------------

// AccumulateGrad runs after every node whose gradient reaches the parameter, and these are the nodes that read it: by
// now the pass has done with it. What else reads it (a detached alias, another checkpoint, the user) recalls it. Where
// somebody pins the chunk he may read the parameter by pointer, and it stays.
bool ModelData::lend(ParameterRecord& record) {
  if (record.grad_slot && StorageSlot::of(record.tensor.grad()) != record.grad_slot) recall(record);
  if (record.lent) return true;
  auto* slot = StorageSlot::of(record.tensor);
  auto* param = chunks_[record.chunk].param;
  if (!slot || slot->resident() != param || record.tensor.numel() == 0) return false;
  release_last_outputs();
  if (runtime_->residency().is_pinned(param)) return false;
  if (slot->num_writes() != record.num_writes) follow_writes(record, slot->num_writes());
  record.lent = record.tensor.storage();
  slot->lend([this, &record] { recall(record); });
  return true;
}

// Runs within an operator's preparation: no operator, and the chunk is written on the compute tier, where others may
// have pinned it. REQUIRES: lent.
void ModelData::recall(ParameterRecord& record) {
  const Tier tier = runtime_->compute_tier();
  const chunk::Block value = round_master(record);
  {
    const Held held(runtime_->residency(), {{chunks_[record.chunk].param, evict::Access::kWrite}}, tier);
    if (record.grad_slot) StorageSlot::move_out(record.grad_slot, tier);
    const auto size = at::elementSize(record.dtype);
    runtime_->residency().hierarchy().copy_in(tier, held.address(chunks_[record.chunk].param) + record.offset * size,
                                              value.data(), laid_out_elements(record) * size);
  }
  StorageSlot::of(record.lent.unsafeGetStorageImpl())->end_loan();
  record.lent = c10::Storage();
  bury();
}

// As the update rounds it.
chunk::Block ModelData::round_master(const ParameterRecord& record) const {
  const std::size_t count = laid_out_elements(record);
  chunk::Block value = runtime_->residency().allocate(count * at::elementSize(record.dtype), Tier::kCpu);
  visit_master(record, [&](const float* master) {
    hybrid_adam::cast(master, {value.data(), number_type(record.dtype)}, count);
  });
  return value;
}

void ModelData::recall_all() {
  for (auto& record : parameters_)
    if (record.lent) recall(record);
}

// The parameters live on without the engine.
void ModelData::end_all_loans() noexcept {
  for (auto& record : parameters_) try {
      if (record.lent) recall(record);
    } catch (const std::exception& error) {
      log::warning("parameter '" + record.name + "' is lost, its gradient lay in its place: " + error.what());
      StorageSlot::of(record.lent.unsafeGetStorageImpl())->lose();
    }
}

const ParameterRecord* ModelData::find_reusing_gradient() const {
  for (const auto& record : parameters_)
    if (chunks_[record.chunk].lends() && record.tensor.grad().defined()) return &record;
  return nullptr;
}

void ModelData::settle_gradient(ParameterRecord& record) {
  if (!chunks_[record.chunk].lends()) {
    if (!has_kept_gradient(record) || !fits_place(record)) return;
    route_gradient(record);
    if (record.grad_slot) record.grad_sum_writes = ParameterRecord::kNotSummed;  // that slot counts writes of its own
    return;
  }
  const at::Tensor& gradient = record.tensor.grad();
  const bool is_shared = gradient.use_count() > 1 || gradient.storage().use_count() > 1;
  if (record.grad_slot && (is_shared || StorageSlot::of(gradient) != record.grad_slot)) recall(record);
  if (fits_place(record)) route_gradient(record);
}

void ModelData::end_loan(ParameterRecord& record) {
  if (!record.lent) return;
  record.tensor.mutable_grad().reset();
  StorageSlot::of(record.lent.unsafeGetStorageImpl())->end_loan();
  record.lent = c10::Storage();
}

void ModelData::use_up_gradients() {
  if (!reuses_places()) return;
  for (auto& record : parameters_) record.tensor.mutable_grad().reset();
}

bool ModelData::has_routed_gradient(const ParameterRecord& record) {
  const at::Tensor& gradient = record.tensor.grad();
  return record.grad_slot && StorageSlot::of(gradient) == record.grad_slot &&
         gradient.sizes() == record.tensor.sizes() && gradient.strides() == record.tensor.strides() &&
         gradient.storage_offset() == 0;
}

bool ModelData::has_kept_gradient(const ParameterRecord& record) {
  const at::Tensor& gradient = record.tensor.grad();
  return gradient.defined() && gradient.storage().unsafeGetStorageImpl() == record.kept._unsafe_get_target() &&
         gradient.sizes() == record.tensor.sizes() && gradient.strides() == record.tensor.strides() &&
         gradient.storage_offset() == 0;
}

void ModelData::prepare_norms() {
  if (!runtime_->kernels()) return;
  std::size_t most = 0;
  for (const auto& record : parameters_)
    if (record.trainable) most = std::max(most, static_cast<std::size_t>(record.tensor.numel()));
  card_norms_ = std::make_unique<CardNorms>(runtime_->residency(), *runtime_->kernels(), parameters_.size(), most);
}

void ModelData::sum_gradient(ParameterRecord& record) {
  const at::Tensor& gradient = record.tensor.grad();
  const auto* slot = has_routed_gradient(record) ? record.grad_slot
                     : has_kept_gradient(record) ? StorageSlot::of(gradient)
                                                 : nullptr;
  if (slot && record.grad_sum_writes == slot->num_writes()) return;
  const at::NoGradGuard no_grad;
  record.grad_sum_writes = slot ? slot->num_writes() : ParameterRecord::kNotSummed;
  record.is_summed_on_card = false;
  const auto count = static_cast<std::size_t>(gradient.numel());
  if (slot && chunks_[record.chunk].is_table) {
    const Held held(runtime_->residency(), {{slot->resident(), evict::Access::kRead}}, Tier::kCpu);
    const auto* values = held.address(slot->resident()) + slot->offset_bytes();
    record.grad_square_sum = hybrid_adam::sum_of_squares({values, number_type(gradient.scalar_type())}, count);
    return;
  }
  const at::Tensor dense = is_dense(gradient) ? gradient : gradient.contiguous();
  const Pin pin(runtime_->shared_residency(), {dense}, evict::Access::kRead);
  const hybrid_adam::NumberArray array{{dense.const_data_ptr(), number_type(dense.scalar_type())}, count};
  record.is_summed_on_card = card_norms_ != nullptr;
  if (card_norms_)
    card_norms_->start(index_of(record), array);
  else
    record.grad_square_sum = hybrid_adam::sum_of_squares(array.values, array.count);
}

double ModelData::grad_square_sum(const ParameterRecord& record) const {
  return record.is_summed_on_card ? card_norms_->value(index_of(record)) : record.grad_square_sum;
}

std::uint64_t ModelData::num_elements() const {
  std::uint64_t count = 0;
  for (const auto& record : parameters_) count += static_cast<std::uint64_t>(record.tensor.numel());
  return count;
}

std::uint64_t ModelData::model_data_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& lists : chunks_)
    for (const auto* resident : lists.all())
      if (resident) bytes += resident->bytes;
  return bytes;
}

std::uint64_t ModelData::state_saved_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& lists : chunks_)
    for (const auto* moments : {lists.exp_avg, lists.exp_avg_sq})
      if (moments && lists.state_codec != StateCodec::kFloat32)
        bytes += lists.num_elements * sizeof(float) - moments->bytes;
  return bytes;
}

std::uint64_t ModelData::reused_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& lists : chunks_)
    if (lists.lends()) bytes += lists.param->bytes;
  return bytes;
}

std::uint64_t ModelData::update_working_set_bytes() const {
  std::uint64_t most = 0;
  for (const auto& lists : chunks_) {
    std::uint64_t pinned = 0;
    for (const auto* resident : lists.all())
      if (resident && lists.trainable) pinned += resident->bytes;
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

at::Tensor ModelData::copy_out_value(const ParameterRecord& record) const {
  const at::NoGradGuard no_grad;
  if (!chunks_[record.chunk].master) return copy_out(record.tensor.to(at::kFloat));
  at::Tensor value;
  visit_master(record,
               [&](const float* master) { value = copy_out(over(master, at::kFloat, record.sizes, record.strides)); });
  return value;
}

bool ModelData::visit_table(const ParameterRecord& record, const std::function<void(const std::byte*)>& visit) const {
  const auto* param = chunks_[record.chunk].param;
  const auto* slot = StorageSlot::of(record.tensor);
  if (!param->is_table || !slot || slot->resident() != param || !record.tensor.is_contiguous()) return false;
  const Held held(runtime_->residency(), {{chunks_[record.chunk].param, evict::Access::kRead}}, Tier::kCpu);
  visit(held.address(param) + slot->offset_bytes() + record.tensor.storage_offset() * record.tensor.element_size());
  return true;
}

void ModelData::visit_master(const ParameterRecord& record, const std::function<void(const float*)>& visit) const {
  const auto& lists = chunks_[record.chunk];
  if (!lists.master) return visit(nullptr);
  const Held held(runtime_->residency(), {{lists.master, evict::Access::kRead}}, Tier::kCpu);
  visit(reinterpret_cast<const float*>(held.address(lists.master)) + record.offset);
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
