// Who tells of a run: the events of a run, and the views that print them.
//
// The command calls these as things happen and prints nothing itself. Views keep no figures of their own: what adds up
// is RunTotals' business. All of them end with the fingerprint.
//
// Threading: main thread only. Everything throws IoError when standard output cannot be written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/telemetry.hpp"
#include "tools/run_totals.hpp"
#include "tools/terminal.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

// What is going to be trained. `plan` is not measured yet.
struct RunStart {
  const TrainOptions& options;
  const Plan& plan;
  std::uint64_t data_bytes;
  int num_threads;  // of torch's operators
};

struct StepReport {
  const StepStats& stats;
  double tokens_per_second;
  double seconds_left;
};

struct RunEnd {
  const TrainOptions& options;
  const Plan& plan;  // as it was foretold
  const RunTotals& totals;
  const std::optional<Simulation>& foretold;  // at the rates that moves had; nothing before a step is warm
  double seconds;
  std::uint64_t peak_resident_bytes;  // VmHWM
  bool is_interrupted;
  std::uint64_t fingerprint;
};

class RunView {
 public:
  RunView() = default;
  RunView(const RunView&) = delete;
  RunView& operator=(const RunView&) = delete;
  virtual ~RunView() = default;

  virtual void on_start(const RunStart&) {}
  virtual void on_plan(const Plan&) {}  // after the first backward, before any update
  virtual void on_phase(std::int64_t /*step*/, std::string_view /*phase*/) {}
  virtual void on_step(const StepReport&) {}
  virtual void on_validation(const Validation&) {}
  virtual void on_sample(std::int64_t /*step*/, const std::string& /*bytes*/) {}
  virtual void on_warning(const std::string& line);  // to the log, whatever the view prints
  virtual void on_end(const RunEnd& end) = 0;
};

std::unique_ptr<RunView> make_text_view(const TrainOptions& options, const Terminal& terminal);
std::unique_ptr<RunView> make_json_view();
std::unique_ptr<RunView> make_quiet_view();

// The view that options.output names, on standard output.
std::unique_ptr<RunView> make_run_view(const TrainOptions& options);

// "659b4b4445340888"
std::string fingerprint_text(std::uint64_t fingerprint);

}  // namespace asterias::tools
