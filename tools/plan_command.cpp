#include "tools/plan_command.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "runtime/memory_probe.hpp"
#include "runtime/nvme_probe.hpp"
#include "runtime/nvme_record.hpp"
#include "tools/header_text.hpp"
#include "tools/move_rates.hpp"
#include "tools/plan_text.hpp"
#include "tools/run_view.hpp"
#include "tools/standard_output.hpp"
#include "tools/terminal.hpp"
#include "tools/training_job.hpp"

namespace asterias::tools {
namespace {

constexpr std::uint64_t kMostScratch = 256 * kMiB;

struct Rates {
  runtime::MemoryRates memory;
  double nvme_bytes_per_second;  // 0: no such tier
};

// A quarter of the cpu budget, since caches flatter a small scratch: it is gone before the model comes.
std::uint64_t scratch_bytes(const TiersConfig& tiers) {
  const std::uint64_t limit = tiers.cpu.limit.bytes.value_or(UINT64_MAX);
  return std::clamp(limit / 4, kMiB, kMostScratch);
}

runtime::ProbeBounds nvme_bounds(const TiersConfig& tiers) {
  runtime::ProbeBounds bounds;
  bounds.bytes = std::min(bounds.bytes, tiers.nvme.limit.bytes.value_or(UINT64_MAX));
  return bounds;
}

// What `asterias bench io` or an earlier plan measured, while it counts; otherwise measured now, and kept.
double nvme_rate(const EngineConfig& config) {
  const auto& folders = config.tiers.nvme.paths;
  if (folders.empty()) return 0;
  runtime::NvmeRecord record(folders);
  if (const auto kept = record.update_rate(config.io)) return *kept;
  runtime::NvmeRates rates;
  rates.io = config.io;
  rates.update_bytes_per_second = runtime::probe_nvme(folders, config.io, nvme_bounds(config.tiers));
  if (rates.update_bytes_per_second == 0) return 0;
  const int error_number = record.keep({rates});
  if (error_number != 0)
    log::info("the drive's rate is not kept: " + record.path() + ": " + std::strerror(error_number));
  return rates.update_bytes_per_second;
}

Rates measure_rates(const EngineConfig& config) {
  const auto& optimizer = config.optimizer;
  const auto memory = runtime::probe_memory(optimizer.type, optimizer.params.state_dtype.value_or(StateDtype::kFp32),
                                            config.cpu.threads, scratch_bytes(config.tiers));
  return {memory, nvme_rate(config)};
}

bool has_tier(const Plan& plan, Tier tier) {
  return std::any_of(plan.tiers.begin(), plan.tiers.end(), [&](const auto& one) { return one.tier == tier; });
}

// A link without a declared speed is memcpy.
double link_rate(std::uint64_t declared, const Rates& rates) {
  return declared > 0 ? static_cast<double>(declared) : rates.memory.copy_bytes_per_second;
}

StepCosts costs_of(const EngineConfig& config, const Plan& plan, const StepStats& pass, const Rates& rates) {
  StepCosts costs;
  costs.forward_ms = std::max(pass.forward_ms - pass.stall_forward_ms, 0.0);
  costs.backward_ms = std::max(pass.backward_ms - pass.stall_backward_ms, 0.0);
  costs.passes = config.gradient_accumulation_steps;
  costs.num_parameters = plan.num_parameters;
  costs.update_params_per_second = rates.memory.update_params_per_second;
  if (config.gradient_clipping.value_or(0) > 0) costs.norm_params_per_second = rates.memory.norm_params_per_second;
  costs.h2d_bytes = plan.predicted_h2d_bytes;
  costs.d2h_bytes = plan.predicted_d2h_bytes;
  costs.nvme_read_bytes = plan.predicted_nvme_read_bytes;
  costs.nvme_write_bytes = plan.predicted_nvme_write_bytes;
  costs.nvme_bytes_per_second = rates.nvme_bytes_per_second;
  if (!has_tier(plan, Tier::kGpu)) return costs;
  const auto& link = config.tiers.gpu.link;
  costs.h2d_bytes_per_second = link_rate(link.h2d_bytes_per_second, rates);
  costs.d2h_bytes_per_second = link_rate(link.d2h_bytes_per_second, rates);
  costs.link_is_processor = link.h2d_bytes_per_second == 0 && link.d2h_bytes_per_second == 0;
  return costs;
}

StepStats since(StepStats now, const StepStats& before) {
  now.forward_ms -= before.forward_ms;
  now.backward_ms -= before.backward_ms;
  now.stall_forward_ms -= before.stall_forward_ms;
  now.stall_backward_ms -= before.stall_backward_ms;
  return now;
}

// Runs the passes of a step, which make room on demand and are recorded, and looks at what that foretells.
Plan record_step(TrainingJob& job, std::int64_t num_passes) {
  job.begin_step(1);
  for (std::int64_t pass = 0; pass < std::min(num_passes, TrainingJob::kForetoldPasses); ++pass) job.run_pass();
  return job.plan();
}

// A pass like those of later steps, foretold; where there are several, not the first, which is of its own kind.
StepStats measure_pass(TrainingJob& job, std::int64_t num_passes) {
  job.begin_step(1);
  if (num_passes > 1) job.run_pass();
  const StepStats before = job.stats_so_far();
  job.run_pass();
  return since(job.stats_so_far(), before);
}

void add_rates(RecordedStep& step, const EngineConfig& config, const Rates& rates) {
  step.tiers.rates = rates_of(config, rates.memory.copy_bytes_per_second, rates.nvme_bytes_per_second);
  step.tiers.update_params_per_second = rates.memory.update_params_per_second;
}

// Plays the recorded passes; those that were left out are like the last ones.
Simulation simulate(const RecordedStep& step, std::int64_t num_passes) {
  Simulation simulation = step.play();
  auto& times = simulation.times;
  const auto recorded = static_cast<std::int64_t>(step.script.pass_starts.size());
  if (recorded >= num_passes || recorded == 0) return simulation;
  const auto scaled = [&](std::uint64_t ns) {
    return ns / static_cast<std::uint64_t>(recorded) * static_cast<std::uint64_t>(num_passes);
  };
  times.step_ns = times.update_ns + scaled(times.step_ns - times.update_ns);
  times.pass_work_ns = scaled(times.pass_work_ns);
  return simulation;
}

Foretold foretell(TrainingJob& job, const TrainOptions& options, const Rates& rates) {
  const EngineConfig& config = options.config;
  Foretold foretold;
  try {
    foretold.plan = record_step(job, config.gradient_accumulation_steps);
    auto step = job.recorded_step();
    const StepStats pass = measure_pass(job, config.gradient_accumulation_steps);
    const auto with_more_passes = job.recorded_step();
    if (step && with_more_passes) {
      step->take_times(with_more_passes->script);
      add_rates(*step, config, rates);
      foretold.simulation = simulate(*step, config.gradient_accumulation_steps);
      if (!options.script_path.empty()) evict::save(*step, options.script_path);
    }
    foretold.costs = costs_of(config, foretold.plan, pass, rates);
    foretold.estimate = estimate_step(*foretold.costs);
    foretold.fingerprint = job.fingerprint();
  } catch (const BudgetError& error) {
    foretold.plan = job.plan();
    foretold.refusal = error.what();
  }
  return foretold;
}

}  // namespace

ExitCode run_plan(const TrainOptions& options) {
  fail_when_the_reader_goes();
  const bool is_text = options.output != OutputKind::kJson;
  const Rates rates = measure_rates(options.config);
  TrainingJob job(options);
  if (options.output == OutputKind::kText)
    print(header_text({options, job.plan(), job.data_bytes(), job.num_threads()}) + "\n");
  const Foretold foretold = foretell(job, options, rates);
  print(is_text ? plan_text(foretold, options, look_at_standard_output()) : plan_json(foretold, options));
  if (foretold.refusal.empty()) return ExitCode::kDone;
  std::fprintf(stderr, "asterias: %s\n", foretold.refusal.c_str());
  return ExitCode::kBudget;
}

}  // namespace asterias::tools
