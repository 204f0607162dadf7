#include "tests/plans/trial.hpp"

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <unistd.h>

#include "base/byte_size.hpp"
#include "base/process_memory.hpp"
#include "device/page_block.hpp"
#include "runtime/cuda_backend.hpp"
#include "tests/plans/card.hpp"
#include "tests/runtime/budgets.hpp"
#include "tests/runtime/card_budget.hpp"
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

constexpr std::uint64_t kAmpleCard = 2 * kGiB;  // with what context and libraries take

Job without_limits(Job job) {
  auto& limit = job.config.tiers.gpu.limit.bytes;
  if (job.config.device == "simulated")
    limit = job.config.debug.one_piece ? 512 * kMiB : test::kAmple;  // one piece is taken
  if (job.is_on_card()) limit = kAmpleCard;
  return job;
}

// What this process holds of a card, by the difference between now and the beginning.
class HeldOfCard {
 public:
  // Before the process's first call that makes a context.
  explicit HeldOfCard(const Job& job) {
    if (!job.is_on_card()) return;
    calls_ = runtime::cuda_backend().calls;
    index_ = runtime::cuda_index(job.config.device);
    knows_before_ = calls_->count_used(index_, before_) == 0;
  }

  std::uint64_t bytes() const {
    std::uint64_t used = 0, free_bytes = 0, total = 0;
    if (!calls_) return 0;
    if (knows_before_ && calls_->count_used(index_, used) == 0) return used - std::min(used, before_);
    calls_->count_memory(index_, free_bytes, total);
    return total - free_bytes;
  }

 private:
  device::CudaCalls* calls_ = nullptr;
  int index_ = 0;
  bool knows_before_ = false;
  std::uint64_t before_ = 0;
};

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

// `needs` was measured with all the memory there is. A card gives its memory in granules, besides what the process
// holds of it and its libraries may.
void set_limits(Job& job, const BudgetShares& shares, const Plan& needs, const HeldOfCard& held) {
  for (const auto& tier : needs.tiers) {
    const auto& share = shares[static_cast<int>(tier.tier)];
    if (!share) continue;
    const double more = *share * 1.25 * static_cast<double>(needs.model_data_bytes);
    std::uint64_t bytes = std::max(smallest_bytes(tier) + static_cast<std::uint64_t>(more), device::kPageBytes);
    if (tier.tier == Tier::kGpu && job.is_on_card())
      bytes = held.bytes() + test::kCardLibraryBytes + round_up(bytes, test::kCardGranuleBytes);
    tier_config(job.config, tier.tier).limit.bytes = bytes;
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

std::string plain_difference(const Outcome& plain, const CaseRun& ample) {
  const auto what = test::difference(plain, ample.outcome);
  return what.empty() ? what : "other bits than plain libtorch: " + what;
}

void note_failure(Json& report, const std::string& what) {
  if (!what.empty()) report["failure"] = what;
}

Outcome train_plainly(const Job& job) {
  return test::train_plain(job.as_case(), job.config, job.num_steps(), KeepState::kNo);
}

}  // namespace

// A card's kernels are its own, and what torch allocates without an engine stays with torch: there plain libtorch comes
// last.
Json try_plan(const RandomPlan& plan) {
  Json report = Json::object();
  Job job = plan.job;
  try {
    at::set_num_threads(job.num_torch_threads);
    if (job.is_on_card()) {
      open_card(job);
      test::case_device = torch::Device(job.config.device);
    }
    const HeldOfCard held(job);
    auto expected = job.is_on_card() ? Outcome() : train_plainly(job);
    const auto ample = train(without_limits(job));
    if (job.is_on_card()) expected = ample.outcome;
    note_failure(report, broken_promise(expected, ample, without_limits(job).config));
    set_limits(job, plan.shares, ample.plan, held);
    if (job.config.device == "simulated" && !job.config.tiers.gpu.limit.bytes) job = without_limits(job);
    tests::order_faults(job.faults);
    const auto run = train_or_obey(job, report);
    tests::order_faults({});
    note_failure(report, broken_promise(expected, run, job.config));
    if (job.is_on_card() && !report.contains("failure"))
      note_failure(report, plain_difference(train_plainly(job), ample));
    report["moved_bytes"] = run.moved_bytes;
  } catch (const c10::Error& error) {
    note_failure(report, error.what_without_backtrace());
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
  } catch (const c10::Error& error) {
    note_failure(report, error.what_without_backtrace());
  } catch (const std::exception& error) {
    note_failure(report, error.what());
  }
  return report;
}

}  // namespace asterias::plans
