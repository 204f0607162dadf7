// The chunks of one module: its parameters, their masters, gradients and optimizer state, and which tensor lies where.
//
// Casts the parameters as the configuration says, moves their storages into param chunks, routes each final gradient
// into its mirror slot (but not where nothing has to move: there it stays in its own memory), and lets the optimizer
// walk chunk by chunk. Knows torch tensors; knows nothing of optimizers' formulas (runtime/optimizer.hpp) or of passes
// (runtime/engine_core.hpp).
//
// Invariants
//   * The unit of layout is a storage with its strides: tied parameters, and views that share a storage, share their
//     place.
//   * Only trainable parameters have grad and state chunks; those have no memory before their first use. Trainable
//     16-bit parameters have masters, whoever made them 16-bit; fp32 ones are their own.
//   * After reclaim(), a 16-bit parameter is its master rounded to nearest, element by element.
//   * While a gradient lies in its slot, .grad is an ordinary tensor over it: accumulation, clipping by hand and
//     reading are torch's own.
//   * Where chunks lend (`placement.grad_mode` reuse), that slot is the parameter's own. While it is lent, whoever
//   names
//     the parameter has it recalled first, the gradient moves to memory of its own, and nobody sees a difference.
//
// Threading: construction, destruction and recalls on the engine's thread; gradient hooks on whatever thread autograd
// uses for that parameter, one backward at a time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <torch/nn/module.h>

#include "chunk/layout.hpp"
#include "evict/residency.hpp"
#include "runtime/card_norms.hpp"
#include "runtime/config.hpp"
#include "runtime/precision.hpp"
#include "runtime/runtime.hpp"
#include "runtime/storage_slot.hpp"

namespace asterias::runtime {

// One chunk and its mirrors, which have as many elements. Lists that nobody needs are null: the masters of fp32
// parameters, what the optimizer does not use, gradients that take their parameters' places, all but `param` of a
// frozen chunk.
struct ChunkLists {
  evict::Resident* param = nullptr;
  evict::Resident* grad = nullptr;
  evict::Resident* master = nullptr;
  evict::Resident* exp_avg = nullptr;
  evict::Resident* exp_avg_sq = nullptr;
  std::uint64_t num_elements = 0;
  std::uint64_t used_bytes = 0;       // of param
  at::ScalarType dtype = at::kFloat;  // of param; masters are fp32
  at::ScalarType grad_dtype = at::kFloat;
  hybrid_adam::StateCodec state_codec = hybrid_adam::StateCodec::kFloat32;  // of exp_avg and exp_avg_sq
  bool trainable = false;
  bool is_table = false;  // of embedding tables that stay on the cpu tier

  std::array<evict::Resident*, chunk::kNumListKinds> all() const { return {param, grad, master, exp_avg, exp_avg_sq}; }
  // True where a gradient takes its parameter's place in `param`.
  bool lends() const { return trainable && !grad; }
  evict::Resident* grad_home() const { return lends() ? param : grad; }
  // Where tensors start, in elements.
  std::uint64_t alignment() const { return chunk::kTensorAlignment / at::elementSize(dtype); }
};

// One distinct parameter tensor (a tied one has several names but one record).
struct ParameterRecord {
  std::string name;  // the first name
  at::Tensor tensor;
  std::uint32_t chunk = 0;
  std::uint64_t offset = 0;  // of the tensor's first element in its chunk, in elements
  bool trainable = false;
  bool fills_storage = false;         // and shares it with no other parameter
  at::ScalarType dtype = at::kFloat;  // as laid out, with sizes and strides
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  std::uint64_t num_writes = 0;      // to its storage, seen by its master
  StorageSlot::Name grad_name;       // of its gradient
  StorageSlot* grad_slot = nullptr;  // set while a gradient lies in the slot
  c10::Storage lent;                 // the parameter's storage, while its place is lent
  // Of the gradient that was left where backward made it.
  c10::weak_intrusive_ptr<c10::StorageImpl> kept{c10::intrusive_ptr<c10::StorageImpl>()};
  std::int64_t num_steps = 0;  // updates so far, for the bias correction
  double grad_square_sum = 0;  // of the gradient, after grad_sum_writes writes
  std::uint64_t grad_sum_writes = kNotSummed;
  bool is_summed_on_card = false;
  static constexpr std::uint64_t kNotSummed = UINT64_MAX;
};

// Which optimizer state lists to make, and how the state of each trained parameter is stored in them.
struct StateLists {
  bool exp_avg = true;
  bool exp_avg_sq = true;
  std::function<hybrid_adam::StateCodec(const std::string& name, const at::Tensor& parameter)> codec_of;
};

class ModelData {
 public:
  // Casts, lays out and takes over the parameters of `module`. `chunk_limit_elements` bounds the chunk size. With
  // `sum_gradients`, the sum of squares of each gradient is taken as soon as it is final. With `looks_up_on_host`,
  // embedding tables stay on the cpu tier (host_operators.hpp). Throws ConfigError for parameters it cannot train.
  ModelData(std::shared_ptr<Runtime> runtime, const std::shared_ptr<torch::nn::Module>& module, Precision precision,
            std::uint64_t chunk_limit_elements, StateLists lists, bool sum_gradients, GradMode grad_mode,
            bool looks_up_on_host);
  ModelData(const ModelData&) = delete;
  ModelData& operator=(const ModelData&) = delete;
  ~ModelData();

  std::uint64_t chunk_bytes() const { return chunk_bytes_; }
  const chunk::Layout& layout() const { return layout_; }
  std::vector<ChunkLists>& chunks() { return chunks_; }
  std::vector<ParameterRecord>& parameters() { return parameters_; }
  const std::vector<ParameterRecord>& parameters() const { return parameters_; }
  std::uint64_t num_elements() const;
  // Bytes of all lists of all chunks: what a step touches besides activations.
  std::uint64_t model_data_bytes() const;
  // What these would be more if all optimizer state were fp32.
  std::uint64_t state_saved_bytes() const;
  // Bytes of the gradient lists that are not there because chunks lend.
  std::uint64_t reused_bytes() const;
  // The most that the update of one chunk pins.
  std::uint64_t update_working_set_bytes() const;

  // Throws StateError if a trainable parameter has been registered since: it would stay as it is. Costs a comparison
  // per parameter.
  void refuse_new_parameters();

  // Takes parameters back that were given other data since (set_data, torch::load): copied into their chunks; fp32 data
  // of a 16-bit parameter becomes its master. Masters follow what was written in place. Costs a comparison per
  // parameter otherwise. StateError when the data does not fit what was laid out, or is another parameter's own.
  void reclaim();

  // Calls `on_final` for each gradient that backward has put into its place, final unless another part of the same
  // backward adds to it.
  void set_on_final_gradient(std::function<void(const ParameterRecord&)> on_final) { on_final_ = std::move(on_final); }

  // While off, a gradient that becomes final is dropped with a StateError: its loss was not scaled. On at first.
  void take_gradients(bool on) { takes_gradients_ = on; }

  // ---- places lent to gradients; nothing happens in chunks that do not lend
  bool reuses_places() const { return grad_mode_ == GradMode::kReuse; }
  // Puts all parameters back into their places, rounded from their masters; their gradients move to memory of their
  // own.
  void recall_all();
  // The first parameter that has a gradient which takes its place; null when there is none.
  const ParameterRecord* find_reusing_gradient() const;
  // Brings a parameter's gradient into its place once more if the parameter was recalled since, or if what was kept
  // outside has to be able to move. Who holds the gradient besides the parameter keeps what it is now.
  void settle_gradient(ParameterRecord& record);
  // Ends the loan of a parameter that the update has written over its gradient.
  void end_loan(ParameterRecord& record);
  // A step uses gradients up, also a skipped one: .grad is undefined then. Keeps them where places are not reused.
  void use_up_gradients();

  // Finds a parameter by any of its names, or by its tensor; null when unknown.
  ParameterRecord* find(const std::string& name);
  ParameterRecord* find(const at::Tensor& tensor);
  const ParameterRecord* find(const at::Tensor& tensor) const { return const_cast<ModelData*>(this)->find(tensor); }
  // The index of one of parameters().
  std::uint64_t index_of(const ParameterRecord& record) const {
    return static_cast<std::uint64_t>(&record - parameters_.data());
  }

  // Copies any tensor, resident or not, to a plain CPU tensor that is counted on the cpu tier; contiguous, or with
  // `strides` (dense).
  at::Tensor copy_out(const at::Tensor& tensor, at::OptionalIntArrayRef strides = std::nullopt) const;

  // Copies out a parameter's value in fp32: its master, where it has one.
  at::Tensor copy_out_value(const ParameterRecord& record) const;
  // Lends the bytes of an embedding table on the cpu tier, where it stays. False, without a call, for what is none, or
  // is not contiguous.
  bool visit_table(const ParameterRecord& record, const std::function<void(const std::byte*)>& visit) const;
  // Lends a parameter's master, in the order of its storage; null where it has none.
  void visit_master(const ParameterRecord& record, const std::function<void(const float*)>& visit) const;

  // Sums the squares of a parameter's gradient, unless it was summed when it became final and has not been touched
  // since; on a card it is only begun. REQUIRES: a strided gradient, fp32 or of the parameter's dtype.
  void sum_gradient(ParameterRecord& record);
  // What was summed. On a card the first one asked for waits until all that were begun are there.
  double grad_square_sum(const ParameterRecord& record) const;
  // True where the gradient is what lies in its place, element by element: neither another tensor nor a view of it.
  static bool has_routed_gradient(const ParameterRecord& record);
  // True where the gradient lies, whole, in memory of its own, where backward has left it.
  static bool has_kept_gradient(const ParameterRecord& record);

 private:
  class ByteCopy;
  class GradientRoute;

  // A storage that parameters lie in, as it was given and as it is laid out.
  struct StorageRecord {
    c10::Storage storage;
    at::ScalarType given_dtype;
    at::ScalarType dtype;
    int num_parameters;
    bool trainable;
    std::string name;
    hybrid_adam::StateCodec state_codec = hybrid_adam::StateCodec::kFloat32;
    bool is_table = false;

    chunk::StorageSpec spec() const;
  };

  bool can_take(c10::Device device) const;
  void collect_parameters();
  void collect_parameter(const std::string& name, const at::Tensor& parameter);
  bool is_as_registered() const;
  void note_registered();
  void collect_storage(const std::string& name, const at::Tensor& parameter);
  void choose_dtypes();
  void choose_codecs();
  void find_tables(const torch::nn::Module& module);
  std::uint64_t chunk_limit_bytes(std::uint64_t limit_elements) const;
  void make_chunks();
  std::vector<bool> find_lending_chunks() const;
  evict::Resident* make_list(chunk::ListKind kind, const ChunkLists& lists, at::ScalarType dtype, std::int64_t index);
  evict::Resident* make_moments(chunk::ListKind kind, const ChunkLists& lists, std::int64_t index);
  void place_parameter(std::size_t index);
  void move_in();
  void move_storage_in(std::size_t storage);
  c10::Storage move_into_chunk(const c10::Storage& storage, at::ScalarType dtype, std::uint32_t chunk,
                               std::uint64_t offset, StorageSlot::Name name);
  void copy_elements(const c10::Storage& from, at::ScalarType from_dtype, evict::Resident* list, at::ScalarType dtype,
                     std::uint64_t offset, Tier tier);
  static void give_storage(const ParameterRecord& record, const c10::Storage& storage, std::int64_t storage_offset);
  bool lies_in_place(const ParameterRecord& record) const;
  void take_back(ParameterRecord& record);
  void prepare_norms();
  void follow_writes(ParameterRecord& record, std::uint64_t num_writes);
  void route_gradients();
  void take_gradient(ParameterRecord& record);
  void refuse_unscaled(ParameterRecord& record) const;
  bool fits_place(const ParameterRecord& record) const;
  bool route_gradient(ParameterRecord& record);
  bool owns_memory(const at::Tensor& gradient, const ChunkLists& lists) const;
  bool keep_gradient(ParameterRecord& record);
  bool settle_gradient_storage(ParameterRecord& record);
  bool lend(ParameterRecord& record);
  void recall(ParameterRecord& record);
  chunk::Block round_master(const ParameterRecord& record) const;
  void end_all_loans() noexcept;

  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<torch::nn::Module> module_;
  Precision precision_;
  StateLists lists_;
  bool sum_gradients_;
  GradMode grad_mode_;
  bool takes_gradients_ = true;
  std::unique_ptr<ByteCopy> copy_, host_copy_;  // on the device that computes, and on the CPU
  std::unique_ptr<CardNorms> card_norms_;       // where gradients lie on a card
  std::function<void(const ParameterRecord&)> on_final_;
  std::uint64_t chunk_bytes_ = 0;
  chunk::Layout layout_;
  std::vector<ChunkLists> chunks_;
  std::vector<ParameterRecord> parameters_;
  std::vector<const c10::TensorImpl*> registered_;  // all the module's, in order, tied and undefined ones as they come
  std::unordered_map<std::string, std::size_t> by_name_;
  std::unordered_map<const c10::TensorImpl*, std::size_t> by_tensor_;

  std::vector<StorageRecord> storages_;
  std::unordered_map<const c10::StorageImpl*, std::size_t> by_storage_;
  std::vector<std::size_t> storage_of_;  // by parameter
};

}  // namespace asterias::runtime
