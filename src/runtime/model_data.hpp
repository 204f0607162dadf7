// The chunks of one module: its parameters, their gradients and optimizer state, and which tensor lies where.
//
// Moves every parameter's storage into param chunks, routes each final gradient into its mirror slot, and lets the
// optimizer walk chunk by chunk. Knows torch tensors; knows nothing of optimizers' formulas (runtime/optimizer.hpp) or
// of passes (runtime/engine_core.hpp).
//
// Invariants
//   * The unit of layout is a storage with its strides: tied parameters, and views that share a storage, share their
//     place.
//   * Only trainable fp32 parameters have grad and state chunks; those have no memory before their first use.
//   * While a gradient lies in its slot, .grad is an ordinary tensor over it: accumulation, clipping by hand and
//     reading are torch's own.
//
// Threading: construction and destruction on the engine's thread; gradient hooks on whatever thread autograd uses for
// that parameter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <torch/nn/module.h>

#include "chunk/layout.hpp"
#include "evict/residency.hpp"
#include "runtime/runtime.hpp"
#include "runtime/storage_slot.hpp"

namespace asterias::runtime {

// One chunk and its mirrors; lists that the optimizer does not use, and all but `param` of a frozen chunk, are null.
struct ChunkLists {
  evict::Resident* param = nullptr;
  evict::Resident* grad = nullptr;
  evict::Resident* exp_avg = nullptr;
  evict::Resident* exp_avg_sq = nullptr;
  std::uint64_t bytes = 0;
  bool trainable = false;
};

// One distinct parameter tensor (a tied one has several names but one record).
struct ParameterRecord {
  std::string name;  // the first name
  at::Tensor tensor;
  std::uint32_t chunk = 0;
  std::uint64_t offset_bytes = 0;  // of the tensor's first element in its chunk
  bool trainable = false;
  at::ScalarType dtype = at::kFloat;  // as laid out, with sizes and strides
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;
  StorageSlot* grad_slot = nullptr;  // set while a gradient lies in the slot
  std::int64_t num_steps = 0;        // updates so far, for the bias correction
  double grad_square_sum = 0;        // of the gradient in its slot, after grad_sum_writes writes
  std::uint64_t grad_sum_writes = kNotSummed;
  static constexpr std::uint64_t kNotSummed = UINT64_MAX;
};

// Which optimizer state lists to make.
struct StateLists {
  bool exp_avg = true;
  bool exp_avg_sq = true;
};

class ModelData {
 public:
  // Lays out and takes over the parameters of `module`. `chunk_limit_bytes` bounds the chunk size. With
  // `sum_gradients`, the sum of squares of each gradient is taken as soon as it is final. Throws ConfigError for
  // parameters it cannot train.
  ModelData(std::shared_ptr<Runtime> runtime, const std::shared_ptr<torch::nn::Module>& module,
            std::uint64_t chunk_limit_bytes, StateLists lists, bool sum_gradients);
  ModelData(const ModelData&) = delete;
  ModelData& operator=(const ModelData&) = delete;
  ~ModelData();

  std::uint64_t chunk_bytes() const { return chunk_bytes_; }
  const chunk::Layout& layout() const { return layout_; }
  std::vector<ChunkLists>& chunks() { return chunks_; }
  std::vector<ParameterRecord>& parameters() { return parameters_; }
  std::uint64_t num_elements() const;
  // Bytes of all lists of all chunks: what a step touches besides activations.
  std::uint64_t model_data_bytes() const;
  // The most that the update of one chunk pins.
  std::uint64_t update_working_set_bytes() const;

  // Throws StateError if a trainable parameter has been registered since: it would stay as it is. Costs a comparison
  // per parameter.
  void refuse_new_parameters();

  // Takes parameters back that were given other data since (set_data, torch::load): copied into their chunks. Costs a
  // comparison per parameter otherwise. StateError when the data does not fit what was laid out.
  void reclaim();

  // Finds a parameter by any of its names, or by its tensor; null when unknown.
  ParameterRecord* find(const std::string& name);
  ParameterRecord* find(const at::Tensor& tensor);

  // Copies any tensor, resident or not, to a plain CPU tensor that is counted on the cpu tier; contiguous, or with
  // `strides` (dense).
  at::Tensor copy_out(const at::Tensor& tensor, at::OptionalIntArrayRef strides = std::nullopt) const;

  // Sums the squares of a parameter's gradient, or returns what was summed when it became final if it has not been
  // touched since. REQUIRES: a strided fp32 gradient.
  double grad_square_sum(ParameterRecord& record) const;

 private:
  class GradientRoute;

  void collect_parameters();
  void collect_parameter(const std::string& name, const at::Tensor& parameter);
  bool is_as_registered() const;
  void note_registered();
  void make_chunks();
  void move_in();
  void move_storage_in(std::size_t storage);
  void move_into_chunk(c10::StorageImpl* storage, std::uint32_t chunk, std::uint64_t offset_bytes,
                       const std::string& name);
  void take_back(const ParameterRecord& record);
  void route_gradients();
  void take_gradient(ParameterRecord& record);

  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<torch::nn::Module> module_;
  StateLists lists_;
  bool sum_gradients_;
  std::uint64_t chunk_bytes_ = 0;
  chunk::Layout layout_;
  std::vector<ChunkLists> chunks_;
  std::vector<ParameterRecord> parameters_;
  std::vector<const c10::TensorImpl*> registered_;  // all the module's, in order, tied and undefined ones as they come
  std::unordered_map<std::string, std::size_t> by_name_;
  std::unordered_map<const c10::TensorImpl*, std::size_t> by_tensor_;

  struct StorageRecord {
    c10::Storage storage;
    chunk::StorageSpec spec;
    std::string name;
  };
  std::vector<StorageRecord> storages_;
  std::unordered_map<const c10::StorageImpl*, std::size_t> by_storage_;
  std::vector<std::size_t> storage_of_;  // by parameter
};

}  // namespace asterias::runtime
