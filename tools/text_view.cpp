// For people: a header, the plan, a live line on a terminal or a row per step elsewhere, a summary.
#include <optional>

#include "tools/header_text.hpp"
#include "tools/live_line.hpp"
#include "tools/number_text.hpp"
#include "tools/placement_text.hpp"
#include "tools/progress_text.hpp"
#include "tools/run_view.hpp"
#include "tools/standard_output.hpp"
#include "tools/summary_text.hpp"
#include "tools/text_sampler.hpp"

namespace asterias::tools {
namespace {

class TextView final : public RunView {
 public:
  TextView(const TrainOptions& options, const Terminal& terminal) : terminal_(terminal) {
    progress_.num_steps = options.steps;
  }

  void on_start(const RunStart& start) override { print(header_text(start) + "\n"); }

  void on_plan(const Plan& plan) override { print_above(placement_text(plan, terminal_) + "\n"); }

  void on_phase(std::int64_t step, std::string_view phase) override {
    progress_.step = step;
    progress_.phase = phase;
    redraw();
  }

  void on_step(const StepReport& report) override {
    if (!last_ && !terminal_.is_terminal) print(column_heads(report.stats));
    last_ = report.stats;
    progress_.last = &*last_;
    progress_.tokens_per_second = report.tokens_per_second;
    progress_.seconds_left = report.seconds_left;
    progress_.phase = "";
    if (terminal_.is_terminal)
      redraw();
    else
      print(step_row(report.stats, report.tokens_per_second));
  }

  void on_validation(const Validation& validation) override {
    print_above(printf_text("%6lld %8s  validation\n", static_cast<long long>(validation.step),
                            loss_text(validation.loss).c_str()));
  }

  void on_sample(std::int64_t step, const std::string& bytes) override {
    print_above(printf_text("%6lld  sample  %s\n", static_cast<long long>(step), escaped_text(bytes).c_str()));
  }

  void on_warning(const std::string& line) override {
    line_.clear();
    RunView::on_warning(line);
  }

  void on_end(const RunEnd& end) override {
    line_.clear();
    std::string text = terminal_.is_terminal ? "" : "\n";
    text += summary_text(end, terminal_);
    print(text + "fingerprint " + fingerprint_text(end.fingerprint) + "\n");
  }

 private:
  void redraw() {
    if (terminal_.is_terminal) line_.show(live_text(progress_, terminal_));
  }

  void print_above(const std::string& lines) {
    line_.clear();
    print(lines);
  }

  const Terminal terminal_;
  LiveLine line_;
  Progress progress_;
  std::optional<StepStats> last_;
};

}  // namespace

std::unique_ptr<RunView> make_text_view(const TrainOptions& options, const Terminal& terminal) {
  return std::make_unique<TextView>(options, terminal);
}

}  // namespace asterias::tools
