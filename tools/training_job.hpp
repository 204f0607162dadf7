// The training itself: a model in its engine, the batches it sees, and the calls of a step one by one.
//
// `asterias train` calls them in a loop and tells what comes of it; `asterias plan` calls run_pass() and looks at
// plan(). Prints nothing, and decides nothing about when to stop. Keeps torch out of whoever uses it.
//
// Invariants
//   * Validations and samples change nothing that training reads: the next step has the same bits with and without
//     them.
//
// Threading: the thread that makes it is the engine's thread, makes all calls and destroys it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "runtime/telemetry.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

class TrainingJob {
 public:
  // plan() foretells a step from the passes before it; so many of a step's passes are enough, the later ones being
  // alike.
  static constexpr std::int64_t kForetoldPasses = 8;

  // Opens the text and builds the model. Throws ConfigError about text and configuration, BudgetError when the model
  // alone cannot fit, IoError when a file cannot be made.
  explicit TrainingJob(const TrainOptions& options);
  TrainingJob(const TrainingJob&) = delete;
  TrainingJob& operator=(const TrainingJob&) = delete;
  ~TrainingJob();

  // Forgets the gradients of the step before, and sets every param group's rate to `lr_factor` times its own.
  void begin_step(double lr_factor);

  // Forward on the next batch; returns the loss. Gradients come from backward(), which must follow.
  double forward();

  // The gradient of a step is the mean over its `options.accumulate` passes, as one larger batch would give it. Throws
  // BudgetError after the first pass if it did not fit.
  void backward();

  // Both. Returns the loss.
  double run_pass();

  // Runs the optimizer on the gradients of the passes since begin_step().
  void update();

  // Mean loss over the validation windows, the same ones each time. REQUIRES: options.validation.split > 0.
  double validation_loss();

  // A text by the model that begins with the prompt: that many bytes of it and of what follows, as they are.
  std::string sample_text();

  Plan plan() const;
  const StepStats& stats() const;
  // What a later step takes at these rates; nothing where its passes were too long to be written down.
  std::optional<Simulation> simulate(const MoveRates& rates) const;
  std::optional<RecordedStep> recorded_step() const;
  StepStats stats_so_far() const;  // since the last step, without the tiers
  std::uint64_t fingerprint();
  void start_trace();
  StepTrace stop_trace();

  std::uint64_t data_bytes() const;
  int num_threads() const;  // of torch's operators

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace asterias::tools
