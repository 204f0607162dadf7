#include "tests/plans/trial.hpp"

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <unistd.h>

#include "base/byte_size.hpp"
#include "base/process_memory.hpp"
#include "device/page_block.hpp"
#include "tests/runtime/budgets.hpp"
#include "tests/runtime/case_training.hpp"

namespace asterias::plans {
namespace {

using Json = nlohmann::ordered_json;
using test::CaseRun;
using test::KeepState;
using test::Outcome;

TierConfig& tier_config(EngineConfig& config, Tier tier) {
  switch (tier) {
    case Tier::kGpu: return config.tiers.gpu;
    case Tier::kCpu: return config.tiers.cpu;
    case Tier::kNvme: return config.tiers.nvme;
  }
  throw std::logic_error("no such tier");
}

void set_limits(EngineConfig& config, const Limits& limits) {
  for (const Tier tier : {Tier::kGpu, Tier::kCpu, Tier::kNvme})
    if (const auto at = limits.find(std::string(tier_name(tier))); at != limits.end())
      tier_config(config, tier).limit.bytes = at->second;
}

Limits named_by(const BudgetError& refusal) {
  Limits limits;
  for (const auto& budget : refusal.smallest()) limits[std::string(tier_name(budget.tier))] = budget.bytes;
  return limits;
}

CaseRun train(const Job& job) { return test::train_engine(job.as_case(), job.config, job.num_steps(), KeepState::kNo); }

// ---- plans ----------------------------------------------------------------------------------------------------------

Job without_limits(Job job) {
  if (job.config.device == "simulated")
    job.config.tiers.gpu.limit.bytes = job.config.debug.one_piece ? 512 * kMiB : test::kAmple;  // one piece is taken
  return job;
}

// The smallest that may do: what a refusal would name leaves room for other processes' libraries as well, and is
// rounded.
std::uint64_t smallest_bytes(const Plan::TierPlan& tier) {
  switch (tier.tier) {
    case Tier::kGpu: return tier.working_set_bytes;
    case Tier::kCpu: return tier.smallest_bytes - std::min(tier.smallest_bytes, 16 * kMiB);
    case Tier::kNvme: return tier.smallest_bytes;
  }
  throw std::logic_error("no such tier");
}

// `needs` was measured with all the memory there is.
void set_limits(EngineConfig& config, const BudgetShares& shares, const Plan& needs) {
  for (const auto& tier : needs.tiers) {
    const auto& share = shares[static_cast<int>(tier.tier)];
    if (!share) continue;
    const double more = *share * 1.25 * static_cast<double>(needs.model_data_bytes);
    tier_config(config, tier.tier).limit.bytes =
        std::max(smallest_bytes(tier) + static_cast<std::uint64_t>(more), device::kPageBytes);
  }
}

// Trains within the job's limits, or within those that a refusal names.
CaseRun train_or_obey(Job& job, Json& report) {
  try {
    return train(job);
  } catch (const BudgetError& refusal) {
    report["refused"] = refusal.what();
    set_limits(job.config, named_by(refusal));
  }
  return train(job);
}

// ---- what must hold -------------------------------------------------------------------------------------------------

std::string over_a_limit(const CaseRun& run, EngineConfig config) {
  for (const Tier tier : {Tier::kGpu, Tier::kCpu, Tier::kNvme}) {
    const auto limit = tier_config(config, tier).limit.bytes;
    const std::uint64_t peak = run.peak_bytes[static_cast<int>(tier)];
    if (limit && peak > *limit)
      return "tiers." + std::string(tier_name(tier)) + ".limit " + format_bytes(*limit) +
             " was passed: " + format_bytes(peak);
  }
  return "";
}

// Names a swap file of this process that is still there.
std::string left_behind(const EngineConfig& config) {
  const std::string own = std::string("-").append(std::to_string(getpid())).append("-");
  for (const auto& folder : config.tiers.nvme.paths)
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.path().filename().string().find(own) != std::string::npos) return entry.path().string();
  return "";
}

// Says what of the promises was broken; empty when nothing was.
std::string broken_promise(const Outcome& expected, const CaseRun& run, const EngineConfig& config) {
  if (const auto what = test::difference(expected, run.outcome); !what.empty()) return "other bits: " + what;
  if (const auto what = over_a_limit(run, config); !what.empty()) return what;
  if (const auto what = left_behind(config); !what.empty()) return "left behind: " + what;
  return "";
}

void note_failure(Json& report, const std::string& what) {
  if (!what.empty()) report["failure"] = what;
}

Outcome train_plainly(const Job& job) {
  return test::train_plain(job.as_case(), job.config, job.num_steps(), KeepState::kNo);
}

}  // namespace

Json try_plan(const RandomPlan& plan) {
  Json report = Json::object();
  Job job = plan.job;
  try {
    at::set_num_threads(job.num_torch_threads);
    const auto expected = train_plainly(job);
    const auto ample = train(without_limits(job));
    note_failure(report, broken_promise(expected, ample, without_limits(job).config));
    set_limits(job.config, plan.shares, ample.plan);
    if (job.config.device == "simulated" && !job.config.tiers.gpu.limit.bytes) job = without_limits(job);
    tests::order_faults(job.faults);
    const auto run = train_or_obey(job, report);
    tests::order_faults({});
    note_failure(report, broken_promise(expected, run, job.config));
    report["moved_bytes"] = run.moved_bytes;
  } catch (const std::exception& error) {
    note_failure(report, error.what());
  }
  report["words"] = job.words();
  return report;
}

Json try_pair(Job job, const Limits& limits) {
  Json report = Json::object();
  set_limits(job.config, limits);
  report["words"] = job.words();
  try {
    at::set_num_threads(job.num_torch_threads);
    const auto run = train(job);
    const std::uint64_t peak = peak_resident_set_bytes();
    note_failure(report, broken_promise(train_plainly(job), run, job.config));
    const auto& tiers = job.config.tiers;
    const std::uint64_t allowed = tiers.cpu.limit.bytes.value_or(UINT64_MAX / 2) + tiers.gpu.limit.bytes.value_or(0);
    if (peak > allowed) note_failure(report, "the process held " + format_bytes(peak) + " of " + format_bytes(allowed));
    report["moved_bytes"] = run.moved_bytes;
    report["trained"] = true;
  } catch (const BudgetError& refusal) {
    report["refused"] = named_by(refusal);
  } catch (const std::exception& error) {
    note_failure(report, error.what());
  }
  return report;
}

}  // namespace asterias::plans
