#include "tools/bench_step.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/median.hpp"
#include "tools/header_text.hpp"
#include "tools/number_text.hpp"
#include "tools/standard_output.hpp"
#include "tools/training_job.hpp"

namespace asterias::tools {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

constexpr int kWarmUpSteps = 2;

// A part of the step, or all of it; waits are in the phases as well.
struct Timed {
  const char* key;
  const char* name;
  std::vector<double> ms = {};  // one per step
};

struct Measured {
  Timed step{"step_ms", "step"}, forward{"forward_ms", "forward"}, backward{"backward_ms", "backward"},
      update{"update_ms", "update"}, stall{"stall_ms", "waiting for moves"};
  StepStats last;

  std::vector<const Timed*> all() const { return {&step, &forward, &backward, &update, &stall}; }

  void add(const StepStats& stats, double step_ms) {
    step.ms.push_back(step_ms);
    forward.ms.push_back(stats.forward_ms);
    backward.ms.push_back(stats.backward_ms);
    update.ms.push_back(stats.update_ms);
    stall.ms.push_back(stats.stall_fetch_ms + stats.stall_evict_ms);
    last = stats;
  }
};

double take_step(TrainingJob& job, std::int64_t num_passes) {
  const auto start = Clock::now();
  job.begin_step(1);
  for (std::int64_t pass = 0; pass < num_passes; ++pass) job.run_pass();
  job.update();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Measured measure(TrainingJob& job, const TrainOptions& options, int rounds) {
  for (int step = 0; step < kWarmUpSteps; ++step) take_step(job, options.accumulate);
  Measured measured;
  for (int round = 0; round < rounds; ++round) {
    const double ms = take_step(job, options.accumulate);
    measured.add(job.stats(), ms);
  }
  return measured;
}

double best(const Timed& timed) { return *std::min_element(timed.ms.begin(), timed.ms.end()); }

double tokens_per_second(const Measured& measured, const TrainOptions& options) {
  return static_cast<double>(options.tokens_per_step()) / median(measured.step.ms) * 1e3;
}

std::string table_text(const Measured& measured, const TrainOptions& options) {
  std::string text = printf_text("%-18s %10s %10s   of %zu steps\n", "", "median", "best", measured.step.ms.size());
  for (const Timed* timed : measured.all())
    text += printf_text("%-18s %10s %10s\n", timed->name, ms_text(median(timed->ms)).c_str(),
                        ms_text(best(*timed)).c_str());
  const StepStats& last = measured.last;
  return text + printf_text(
                    "\n%.0f tokens/s; a step moves %s to the accelerator, %s back, reads %s from NVMe and "
                    "writes %s\n",
                    tokens_per_second(measured, options), bytes_text(last.h2d_bytes).c_str(),
                    bytes_text(last.d2h_bytes).c_str(), bytes_text(last.nvme_read_bytes).c_str(),
                    bytes_text(last.nvme_write_bytes).c_str());
}

std::string json_text(const Measured& measured, const TrainOptions& options) {
  Json json{{"bench", "step"}, {"rounds", measured.step.ms.size()}};
  for (const Timed* timed : measured.all()) json[timed->key] = {{"median", median(timed->ms)}, {"best", best(*timed)}};
  json["tokens_per_second"] = tokens_per_second(measured, options);
  json["h2d_bytes"] = measured.last.h2d_bytes;
  json["d2h_bytes"] = measured.last.d2h_bytes;
  json["nvme_read_bytes"] = measured.last.nvme_read_bytes;
  json["nvme_write_bytes"] = measured.last.nvme_write_bytes;
  return json.dump(2) + "\n";
}

}  // namespace

ExitCode run_bench_step(const TrainOptions& options, int rounds) {
  fail_when_the_reader_goes();
  const bool is_json = options.output == OutputKind::kJson;
  TrainingJob job(options);
  TrainOptions shown = options;
  shown.steps = kWarmUpSteps + rounds;
  if (!is_json) print(header_text({shown, job.plan(), job.data_bytes(), job.num_threads()}) + "\n");
  const Measured measured = measure(job, options, rounds);
  print((is_json ? json_text : table_text)(measured, options));
  return ExitCode::kDone;
}

}  // namespace asterias::tools
