#include "tools/train_command.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include <asterias/run_log.h>

#include "base/error.hpp"
#include "base/process_memory.hpp"
#include "tools/header_text.hpp"
#include "tools/interrupt.hpp"
#include "tools/move_rates.hpp"
#include "tools/number_text.hpp"
#include "tools/run_view.hpp"
#include "tools/standard_output.hpp"
#include "tools/training_job.hpp"

namespace asterias::tools {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

LrSchedule schedule_of(const TrainOptions& options) {
  const double lr = options.config.optimizer.params.lr.value_or(0);
  return {options.schedule.decay, options.schedule.warmup_steps, options.steps,
          lr > 0 ? options.schedule.min_lr / lr : 0};
}

void require_finite(double loss, std::int64_t step, const TrainOptions& options) {
  if (std::isfinite(loss)) return;
  const double clipping = options.config.gradient_clipping.value_or(0);
  throw Error(
      printf_text("the loss of step %lld is %g: the training has diverged; this step has changed no weight\n"
                  "  try a lower --lr (now %g), a longer --warmup (now %lld steps), or %s",
                  static_cast<long long>(step), loss, options.config.optimizer.params.lr.value_or(0),
                  static_cast<long long>(options.schedule.warmup_steps),
                  clipping > 0 ? printf_text("a lower --clip (now %g)", clipping).c_str() : "--clip 1"));
}

constexpr std::int64_t kManySkips = 100;

std::string skips_text(const RunTotals& totals, const Fp16Config& fp16) {
  const auto count = static_cast<long long>(totals.num_skipped_in_a_row);
  const std::string text = printf_text(
      "fp16: the gradients of %lld step%s in a row overflowed, at last at loss scale %g, so no weight changed; ", count,
      count == 1 ? "" : "s", totals.loss_scale);
  return text + (fp16.loss_scale != 0 ? "lower fp16.loss_scale, or set it to 0, which searches for one"
                                      : "lower fp16.initial_scale_power");
}

bool is_due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

// One run from the first step to the summary.
class TrainRun {
 public:
  TrainRun(const TrainOptions& options, const std::string& command, RunLog& log)
      : options_(options), log_(log), view_(make_run_view(options)), schedule_(schedule_of(options)), job_(options) {
    totals_.build_ms = ms_since(start_);
    plan_ = job_.plan();
    view_->on_start({options_, plan_, job_.data_bytes(), job_.num_threads()});
    write_notes(command);
  }

  ExitCode run() {
    for (std::int64_t step = 1; step <= options_.steps && !InterruptHandler::requested(); ++step) {
      const bool is_traced = std::binary_search(options_.trace_steps.begin(), options_.trace_steps.end(), step);
      if (is_traced) job_.start_trace();
      take_step(step);
      if (is_traced) log_.add(job_.stop_trace());
      evaluate(step);
      log_.add(job_.stats(), log_extras_);
    }
    return finish();
  }

 private:
  void write_notes(const std::string& command) {
    log_.note("command", command);
    log_.note("model", model_text(options_));
    log_.note("data", options_.data_path);
    log_.note("data_bytes", static_cast<std::int64_t>(job_.data_bytes()));
    log_.note("steps", options_.steps);
    log_.note("tokens_per_step", options_.tokens_per_step());
    log_.note("seed", std::to_string(options_.seed));  // all 64 bits, which a JSON number would not keep
    log_.note("threads", static_cast<std::int64_t>(job_.num_threads()));
    log_.note("batch", options_.batch);
    log_.note("accumulate", options_.accumulate);
    log_.note("sequence", options_.model.sequence);
    log_.note("layers", options_.model.layers);
    log_.note("hidden", options_.model.hidden);
    log_.note("heads", options_.model.heads);
    log_.note("vocabulary", options_.model.vocabulary);
    write_notes_of_kind(options_.model);
    log_.note("recompute", options_.recompute ? std::string("each block") : std::string("nothing"));
    log_.note("schedule", std::string(lr_decay_name(options_.schedule.decay)));
    log_.note("warmup_steps", options_.schedule.warmup_steps);
    log_.note("min_lr", options_.schedule.min_lr);
  }

  // The sizes that only one kind of model has.
  void write_notes_of_kind(const ModelOptions& model) {
    if (!model.is_llama()) return log_.note("dropout", model.dropout);
    const auto llama = model.llama();
    log_.note("kv_heads", llama.kv_heads);
    log_.note("intermediate", llama.intermediate);
    log_.note("rope_theta", llama.rope_theta);
  }

  void take_step(std::int64_t step) {
    const auto start = Clock::now();
    job_.begin_step(schedule_.factor(step - totals_.num_skipped));  // a skipped step does not advance the schedule
    for (std::int64_t pass = 0; pass < options_.accumulate; ++pass) {
      view_->on_phase(step, "forward");
      require_finite(job_.forward(), step, options_);
      view_->on_phase(step, "backward");
      job_.backward();
      if (step == 1 && pass + 1 == std::min(options_.accumulate, TrainingJob::kForetoldPasses)) show_plan();
    }
    view_->on_phase(step, "update");
    job_.update();
    const double wall_ms = ms_since(start);
    totals_.add(job_.stats(), wall_ms);
    const double tokens_per_second = static_cast<double>(options_.tokens_per_step()) / wall_ms * 1e3;
    log_extras_ = {{"tokens_per_second", tokens_per_second}};
    view_->on_step({job_.stats(), tokens_per_second, seconds_left(step)});
    warn_of_skips();
  }

  // Once: when nothing has been learned for long, or in the whole of a short run.
  void warn_of_skips() {
    if (warned_of_skips_ || totals_.num_skipped_in_a_row < std::min(kManySkips, options_.steps)) return;
    warned_of_skips_ = true;
    view_->on_warning(skips_text(totals_, options_.config.fp16));
  }

  // As long as the steps so far took, with their share of validations and samples.
  double seconds_left(std::int64_t step) const {
    const double evaluation_ms = totals_.evaluation_ms / static_cast<double>(totals_.num_steps);
    return static_cast<double>(options_.steps - step) * (totals_.mean_step_ms() + evaluation_ms) / 1e3;
  }

  void show_plan() {
    plan_ = job_.plan();
    view_->on_plan(plan_);
    log_.plan(plan_);
  }

  void evaluate(std::int64_t step) {
    const auto start = Clock::now();
    const bool validates =
        options_.validation.split > 0 && (is_due(step, options_.validation.every) || step == options_.steps);
    const bool samples = is_due(step, options_.sampling.every);
    if (validates) validate(step);
    if (samples) sample(step);
    if (validates || samples) totals_.evaluation_ms += ms_since(start);
  }

  void validate(std::int64_t step) {
    view_->on_phase(step, "validating");
    const Validation validation{step, job_.validation_loss()};
    totals_.add(validation);
    log_extras_.emplace_back("val_loss", validation.loss);
    view_->on_validation(validation);
  }

  void sample(std::int64_t step) {
    view_->on_phase(step, "sampling");
    view_->on_sample(step, job_.sample_text());
  }

  ExitCode finish() {
    const bool is_interrupted = totals_.num_steps < options_.steps;
    const auto foretold = totals_.num_warm > 0 ? job_.simulate(rates_of(options_.config, totals_.warm)) : std::nullopt;
    const std::uint64_t fingerprint = job_.fingerprint();
    log_.finish(is_interrupted ? "interrupted" : "done", fingerprint);
    view_->on_end({options_, plan_, totals_, foretold, ms_since(start_) / 1e3, peak_resident_set_bytes(),
                   is_interrupted, fingerprint});
    return is_interrupted ? ExitCode::kInterrupted : ExitCode::kDone;
  }

  const Clock::time_point start_ = Clock::now();
  const TrainOptions& options_;
  RunLog& log_;
  std::unique_ptr<RunView> view_;
  const LrSchedule schedule_;
  TrainingJob job_;
  RunTotals totals_;
  bool warned_of_skips_ = false;
  Plan plan_;
  std::vector<RunLog::Extra> log_extras_;  // of the present step
};

// The run's own failure is what counts, also where the log cannot take it.
void note_failure(RunLog& log, const std::string& why) {
  try {
    log.finish("failed: " + why);
  } catch (const IoError&) {
  }
}

}  // namespace

ExitCode run_train(const TrainOptions& options, const std::string& command) {
  fail_when_the_reader_goes();
  const InterruptHandler interrupts;
  RunLog log(options.log_dir, options.config);
  try {
    return TrainRun(options, command, log).run();
  } catch (const std::exception& error) {
    note_failure(log, error.what());
    throw;
  }
}

}  // namespace asterias::tools
