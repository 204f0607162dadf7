// A torch optimizer whose state lives in chunks and whose step walks them.
//
// Options are torch's own (AdamOptions, AdamWOptions, SGDOptions), so LR schedulers and code that edits param_groups()
// work as usual: everything is read anew at each step. "Adam" has L2 decay added to the gradient, "AdamW" the decoupled
// one, as in torch. The formula is hybrid_adam/'s, equal bits wherever a chunk is updated. Of 16-bit parameters the
// fp32 masters are updated and rounded to nearest into them. In fp16, a step whose gradients are not all finite changes
// nothing but the loss scale (loss_scaler.hpp).
//
// Not supported, and refused clearly: amsgrad, sparse gradients, save/load through torch archives.
//
// Threading: engine thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/optim/optimizer.h>

#include "base/thread_pool.hpp"
#include "evict/update_pipeline.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "runtime/config.hpp"
#include "runtime/model_data.hpp"

namespace asterias {

class EngineCore;

// Names the param group of a parameter by an index, or -1 for the default group.
using GroupOf = std::function<int(const std::string& name, const torch::Tensor& parameter)>;

class Optimizer final : public torch::optim::Optimizer {
 public:
  ~Optimizer() override;

  // Updates every parameter that has a gradient, clipped to config.gradient_clipping if set; returns the closure's
  // value, if one is given. In fp16 the update is skipped when a gradient overflowed (StepStats::skipped). Throws
  // before any weight changes when the gradients cannot be used, LossScaleError among others, and BudgetError if the
  // warm-up did not fit.
  torch::Tensor step(LossClosure closure = nullptr) override;

  // Optimizer state is not in torch's archive format; throws StateError.
  void save(torch::serialize::OutputArchive& archive) const override;
  void load(torch::serialize::InputArchive& archive) override;

 private:
  friend class EngineCore;
  struct Group;
  struct Segment;

  Optimizer(EngineCore& core, const EngineConfig& config, runtime::ModelData& data, const GroupOf& group_of);
  // The state that the optimizer of `config` keeps.
  static runtime::StateLists state_lists(const OptimizerConfig& config, const GroupOf& group_of);
  bool try_update();
  void update(double grad_scale);
  void plan_update(double grad_scale);
  void plan_parameter(runtime::ParameterRecord& record, const Group& group, double grad_scale);
  bool is_overwritten(std::size_t chunk) const;
  evict::UpdatePipeline::Lists lists_of(std::size_t chunk) const;
  void update_chunk(std::size_t chunk);
  void update_segment(const Segment& segment, const runtime::ChunkLists& lists);
  const runtime::ParameterRecord* measure_gradients();
  double grad_scale() const;

  EngineCore& core_;
  runtime::ModelData& data_;
  const hybrid_adam::Algorithm algorithm_;
  const std::uint64_t seed_;  // of stochastic rounding: torch's own, when the engine was made
  const double clip_norm_;
  ThreadPool pool_;
  std::vector<std::vector<Segment>> segments_;      // by chunk, of the present step
  std::vector<std::uint64_t> replaced_bytes_;       // by chunk: of param, that the present step writes without reading
  std::vector<runtime::ParameterRecord*> stepped_;  // parameters with a gradient, in the present step
  double grad_norm_ = 0;
};

}  // namespace asterias
