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

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <torch/optim/optimizer.h>

#include "base/thread_pool.hpp"
#include "evict/early_updates.hpp"
#include "evict/late_updates.hpp"
#include "evict/update_pipeline.hpp"
#include "hybrid_adam/chunk_updater.hpp"
#include "runtime/config.hpp"
#include "runtime/model_data.hpp"
#include "runtime/telemetry.hpp"

namespace asterias {

class EngineCore;

// Names the param group of a parameter by an index, or -1 for the default group.
using GroupOf = std::function<int(const std::string& name, const torch::Tensor& parameter)>;

class Optimizer final : public torch::optim::Optimizer, private runtime::BetweenOperators {
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
  struct ChunkPlan;
  class KeptGradients;

  Optimizer(EngineCore& core, const EngineConfig& config, runtime::ModelData& data, const GroupOf& group_of);
  // The state that the optimizer of `config` keeps.
  static runtime::StateLists state_lists(const OptimizerConfig& config, const GroupOf& group_of);
  bool try_update();
  void update(double grad_scale);
  void plan_update(double grad_scale);
  void plan_parameter(runtime::ParameterRecord& record, const Group& group, double grad_scale);
  void add_segment(ChunkPlan& plan, runtime::ParameterRecord& record, const Group& group, double grad_scale);
  void merge_segments(ChunkPlan& plan, const runtime::ChunkLists& lists) const;
  bool lacks_momentum(const runtime::ParameterRecord& record, const Group& group) const;
  bool is_overwritten(const ChunkPlan& plan, const runtime::ChunkLists& lists) const;
  evict::UpdatePipeline::Lists lists_of(std::size_t chunk, const ChunkPlan& plan) const;
  void update_chunk(std::size_t place, Tier tier);
  // Where the update finds the bytes of a list.
  using AddressOf = std::function<std::byte*(const evict::Resident* list)>;
  void update_segments(std::size_t chunk, const ChunkPlan& plan, Tier tier, const AddressOf& address_of);
  hybrid_adam::UpdateSegment resolve(const Segment& segment, const runtime::ChunkLists& lists,
                                     const AddressOf& address_of) const;

  // ---- where chunks are updated
  void force_placement(UpdateOnGpu where);
  void set_update_tier(std::size_t chunk, Tier tier);
  // Decides it: for what is foretold after the first pass, and for good once a whole step has been measured.
  void place_updates(const evict::MoveRates& rates);
  Tier tier_of(std::size_t chunk, const ChunkPlan& plan) const;
  void describe(Plan& plan) const;

  // ---- updates ahead of step()
  void begin_backward();
  void read_groups();
  void note_final(const runtime::ParameterRecord& record);
  evict::UpdatePipeline::Lists plan_early(std::size_t chunk);
  void work_between_operators() noexcept override;
  void update_early(std::size_t place);
  void copy_to_shadows(std::size_t chunk);
  bool take_early(std::size_t place);
  std::uint64_t num_early_updates() const { return num_taken_; }

  // ---- updates that step() puts off
  bool put_off(std::size_t place);
  void update_late(std::size_t place);
  void drop_plans();
  // Computes what has been put off.
  void catch_up() { late_.catch_up(); }
  std::uint64_t num_late_updates() const { return num_late_; }
  std::uint64_t num_gpu_updates() const { return num_above_; }

  const runtime::ParameterRecord* measure_gradients();
  double grad_scale() const;

  EngineCore& core_;
  runtime::ModelData& data_;
  const hybrid_adam::Algorithm algorithm_;
  const std::uint64_t seed_;  // of stochastic rounding: torch's own, when the engine was made
  const double clip_norm_;
  ThreadPool pool_;
  const std::unique_ptr<hybrid_adam::ChunkUpdater> below_, above_;  // on the cpu tier, and on an accelerator's
  std::mutex computing_;                              // held while one is at work: a late update may be on any thread
  std::vector<hybrid_adam::UpdateSegment> segments_;  // scratch, of one chunk
  std::vector<evict::Want> kept_gradients_;           // likewise
  std::vector<std::size_t> trained_;                  // chunks, by place in the update
  std::vector<ChunkPlan> plans_;                      // by chunk, of the present step
  std::vector<evict::UpdatePipeline::Lists> lists_;   // by place in the update, of the present step
  std::vector<runtime::ParameterRecord*> stepped_;    // parameters with a gradient, in the present step
  double grad_norm_ = 0;
  bool may_place_ = false;       // chunks may be updated on the accelerator, where that is not decided for good
  bool is_placed_ = false;       // it is
  bool has_updated_ = false;     // a step
  bool is_foretold_ = false;     // it has been decided once
  std::uint64_t num_above_ = 0;  // in the present step

  const bool may_be_early_;
  bool is_early_ = false;  // in the present backward
  evict::EarlyUpdates early_;
  std::vector<ChunkPlan> early_plans_;                         // by chunk
  std::vector<std::vector<runtime::ParameterRecord*>> chunk_;  // the trained parameters of each
  std::vector<std::size_t> num_final_;                         // by chunk: gradients, in the present backward
  std::vector<Group> groups_;                                  // when the present backward began
  std::vector<std::size_t> group_of_;                          // by parameter: place in groups_, or their number
  std::uint64_t num_taken_ = 0;                                // in the present step
  std::atomic<std::thread::id> thread_;                        // on which gradients become final

  const bool may_be_late_;
  const std::thread::id engine_thread_;
  evict::LateUpdates late_;
  std::uint64_t num_late_ = 0;  // in the present step
};

}  // namespace asterias
