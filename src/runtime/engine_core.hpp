// The untemplated engine: one module, its chunks, its optimizer, and the passes and steps they go through.
//
// Engine<M> (include/asterias/engine.h) is a thin typed shell over it. What all engines share is runtime/runtime.hpp.
//
// Threading: engine thread only: the thread that made it, until it dies there.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include <torch/nn/module.h>

#include "runtime/config.hpp"
#include "runtime/interception.hpp"
#include "runtime/loss_scaler.hpp"
#include "runtime/model_data.hpp"
#include "runtime/optimizer.hpp"
#include "runtime/precision.hpp"
#include "runtime/runtime.hpp"
#include "runtime/telemetry.hpp"

namespace asterias {

class EngineCore {
 public:
  // Makes the module under the interception, so that its parameters may be larger than the compute tier, and takes it
  // over.
  using MakeModule = std::function<std::shared_ptr<torch::nn::Module>()>;
  EngineCore(const EngineConfig& config, const MakeModule& make_module, const GroupOf& group_of);
  EngineCore(const EngineCore&) = delete;
  EngineCore& operator=(const EngineCore&) = delete;
  ~EngineCore();

  const std::shared_ptr<torch::nn::Module>& module() const { return module_; }
  Optimizer& optimizer() { return *optimizer_; }
  const EngineConfig& config() const { return config_; }
  const std::shared_ptr<runtime::Runtime>& shared_runtime() const { return runtime_; }
  runtime::ModelData& data() { return *data_; }
  const runtime::Precision& precision() const { return precision_; }
  double loss_scale() const { return loss_scaler_.scale(); }

  void backward(const torch::Tensor& loss, const torch::Tensor& gradient, bool retain_graph, bool create_graph);

  torch::Tensor parameter(const std::string& name);
  torch::Tensor gradient(const std::string& name);
  torch::Tensor buffer(const std::string& name);
  std::uint64_t fingerprint();
  const StepStats& stats() const { return stats_; }
  // What has been done since the last step: times, stalls and moves, not yet the tiers.
  StepStats stats_so_far() const;
  Plan plan() const;
  std::optional<Simulation> simulate(const MoveRates& rates) const;
  std::optional<RecordedStep> recorded_step() const;
  void start_trace();
  StepTrace stop_trace();

  // Names this engine's updates in the timeline.
  std::uint64_t update_signature() const;

  // One forward of the module (or of engine.run). In gradient mode it opens a pass or goes on with the open one;
  // without, the timeline stands still. Ends the pass early when an exception leaves it.
  class Forward {
   public:
    Forward(EngineCore& core, std::uint64_t signature);
    Forward(const Forward&) = delete;
    Forward& operator=(const Forward&) = delete;
    ~Forward();

   private:
    EngineCore& core_;
    const bool records_;
    const int exceptions_;
    const std::chrono::steady_clock::time_point start_;
    const double stalled_before_ms_;
  };

 private:
  friend class Optimizer;

  static std::shared_ptr<torch::nn::Module> build(const MakeModule& make_module);
  void abandon();
  void leave();
  void hold_buffers();
  void note_update_need();
  void end_pass();
  void count_moves(StepStats& stats) const;
  double stalled_ms() const;
  void refuse_second_backward(bool keeps_graph) const;
  torch::Tensor scaled_gradient(const torch::Tensor& loss, const torch::Tensor& gradient) const;
  void rescale_gradients();
  void finish_step(double grad_norm, bool skipped, std::chrono::steady_clock::time_point update_start);
  TierStats look_at(Tier tier) const;
  void foretell(Plan& plan) const;
  void keep_to_forecast(const StepStats& step);
  MoveRates move_rates() const;
  MoveRates forecast_rates() const;

  std::uint64_t id_;
  std::chrono::steady_clock::time_point step_start_;
  EngineConfig config_;
  runtime::Precision precision_;
  runtime::LossScaler loss_scaler_;
  double gradient_scale_;  // what the gradients that are there are scaled by
  std::shared_ptr<runtime::Runtime> runtime_;
  runtime::Scope scope_;
  std::shared_ptr<torch::nn::Module> module_;
  std::unique_ptr<runtime::ModelData> data_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<runtime::Pin> buffers_;
  StepStats stats_;  // of the last step
  StepStats next_;   // being filled
  std::uint64_t recorded_before_ = 0;
  std::int64_t next_forecast_ = 6;  // at the end of which step, if not of a later one
};

// Hashes names, shapes, dtypes and bits of all parameters and buffers of a module, in the order of registration. A
// module outside any engine and the same module trained by one have equal fingerprints exactly if all bits are equal.
std::uint64_t fingerprint(const torch::nn::Module& module);

// Hashes the masters as well: equals fingerprint(module) where there are none.
std::uint64_t fingerprint(const torch::nn::Module& module, const runtime::ModelData& data);

}  // namespace asterias
