// placement.activations and recomputing change where activations lie and how many there are, and no bit.
#include <array>

#include "base/byte_size.hpp"
#include "gpt_pass.hpp"

namespace asterias::test {
namespace {

constexpr std::int64_t kTokens = 64;
constexpr std::int64_t kBatch = 8;
constexpr std::array kPlacements{ActivationPlacement::kAuto, ActivationPlacement::kKeep, ActivationPlacement::kOffload};
// The batches, which no pass makes.
constexpr std::uint64_t kBatchBytes = 64 * kKiB;

models::Gpt make_gpt(bool recomputes) {
  models::GptOptions options;
  options.sequence = kTokens;
  options.layers = 8;
  options.hidden = 64;
  options.dropout = 0.1;
  models::Gpt gpt(options);
  if (recomputes) gpt->wrap_blocks([](const auto& block, const torch::Tensor& x) { return checkpoint(block, x); });
  return gpt;
}

constexpr auto loop = [](auto& run) {
  for (int i = 0; i < 4; ++i) {
    run.optimizer.zero_grad();
    gpt_pass(run, i, 256, kBatch, kTokens);
    run.optimizer.step();
  }
};

EngineOutcome train(EngineConfig config, ActivationPlacement activations, bool recomputes) {
  config.placement.activations = activations;
  return run_engine(
      config, [recomputes] { return make_gpt(recomputes); }, loop);
}

std::uint64_t peak_activations(const EngineOutcome& run, Tier tier) {
  return run.stats.tiers[static_cast<std::size_t>(tier)].peak_activation_bytes;
}

// Without fetching ahead no move is in flight at the end of an operator: peaks are the same each time.
EngineConfig on_demand(EngineConfig config) {
  config.prefetch = 0;
  return config;
}

EngineConfig cpu_and_drive() {
  auto config = adamw_config();
  config.tiers.nvme.paths = {swap_folder()};
  config.debug.poison = true;
  return config;
}

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "offloaded, kept, recomputed, both or neither: the bits are the same at every budget",
                       "[activations]") {
  const auto plain = run_plain(
      adamw_config(), [] { return make_gpt(false); }, loop);
  for (const bool recomputes : {false, true}) {
    for (const auto activations : kPlacements) {
      CATCH_CAPTURE(recomputes, static_cast<int>(activations));
      const auto unlimited = train(simulated(adamw_config(), kAmple), activations, recomputes);
      CATCH_CHECK(difference(plain, unlimited.outcome) == "");
      const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
      const auto limited = train(simulated(adamw_config(), need), activations, recomputes);
      CATCH_CHECK(difference(plain, limited.outcome) == "");
      CATCH_CHECK(limited.stats.tiers[0].peak_bytes <= need);
      CATCH_CHECK(difference(plain, train(cpu_and_drive(), activations, recomputes).outcome) == "");
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "offloading and recomputing each take activations off the compute tier",
                       "[activations]") {
  for (const auto& config : {on_demand(simulated(adamw_config(), kAmple)), on_demand(cpu_and_drive())}) {
    const bool is_simulated = config.device == "simulated";
    const Tier compute = is_simulated ? Tier::kGpu : Tier::kCpu, below = is_simulated ? Tier::kCpu : Tier::kNvme;
    const auto neither = train(config, ActivationPlacement::kAuto, false);
    const auto offloaded = train(config, ActivationPlacement::kOffload, false);
    const auto recomputed = train(config, ActivationPlacement::kAuto, true);
    const auto both = train(config, ActivationPlacement::kOffload, true);
    const std::uint64_t all = peak_activations(neither, compute);
    CATCH_INFO(tier_name(compute) << ": " << format_bytes(all) << " with neither, "
                                  << format_bytes(peak_activations(offloaded, compute)) << " offloaded, "
                                  << format_bytes(peak_activations(recomputed, compute)) << " recomputed, "
                                  << format_bytes(peak_activations(both, compute)) << " with both");
    CATCH_CHECK(peak_activations(neither, below) <= kBatchBytes);
    CATCH_CHECK(peak_activations(offloaded, compute) < all / 3);
    CATCH_CHECK(peak_activations(offloaded, below) > all / 2);
    CATCH_CHECK(peak_activations(recomputed, compute) < all / 3);
    CATCH_CHECK(peak_activations(both, compute) < peak_activations(recomputed, compute));
    CATCH_CHECK(peak_activations(both, below) < peak_activations(offloaded, below) / 3);
    for (const auto* run : {&neither, &offloaded, &recomputed, &both}) {
      for (const Tier tier : {compute, below}) {
        CATCH_CHECK(tier_plan(run->plan, tier).predicted_activation_bytes <=
                    peak_activations(*run, tier) + kBatchBytes);
        CATCH_CHECK(peak_activations(*run, tier) <=
                    tier_plan(run->plan, tier).predicted_activation_bytes + kBatchBytes);
      }
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "offloaded activations are fetched before they are used", "[activations]") {
  const auto run = train(simulated(adamw_config(), kAmple), ActivationPlacement::kOffload, false);
  CATCH_CHECK(run.stats.fetches > 20);
  // What else is fetched: gradients, to the update.
  CATCH_CHECK(run.stats.prefetch_hits > run.stats.fetches / 2);
}

CATCH_TEST_CASE_METHOD(OneThread, "kept activations never leave, and the budget named for them is exact to a page",
                       "[activations]") {
  const auto loose = train(simulated(adamw_config(), kAmple), ActivationPlacement::kAuto, false);
  const auto kept = train(simulated(adamw_config(), kAmple), ActivationPlacement::kKeep, false);
  const std::uint64_t need = tier_plan(kept.plan, Tier::kGpu).working_set_bytes;
  CATCH_CHECK(need > 3 * tier_plan(loose.plan, Tier::kGpu).working_set_bytes);
  CATCH_CHECK(need >= peak_activations(kept, Tier::kGpu) - kBatchBytes);

  const auto at_need = train(simulated(adamw_config(), need), ActivationPlacement::kKeep, false);
  CATCH_CHECK(difference(loose.outcome, at_need.outcome) == "");
  CATCH_CHECK(at_need.stats.tiers[0].peak_bytes <= need);
  CATCH_CHECK(at_need.stats.d2h_bytes > 0);  // chunks had to make room
  CATCH_CHECK(peak_activations(at_need, Tier::kCpu) <= kBatchBytes);

  std::vector<TierBudget> smallest;
  try {
    train(simulated(adamw_config(), need - 4096), ActivationPlacement::kKeep, false);
  } catch (const BudgetError& error) {
    smallest = error.smallest();
  }
  CATCH_REQUIRE(smallest.size() == 1);
  CATCH_CHECK(smallest[0].tier == Tier::kGpu);
  CATCH_CHECK(smallest[0].bytes == (need + kMiB - 1) / kMiB * kMiB);
  const auto named = train(simulated(adamw_config(), smallest[0].bytes), ActivationPlacement::kKeep, false);
  CATCH_CHECK(difference(loose.outcome, named.outcome) == "");
}

CATCH_TEST_CASE_METHOD(OneThread, "what is kept and outlives its engine stays readable", "[activations]") {
  auto config = simulated(adamw_config(), kAmple);
  config.placement.activations = ActivationPlacement::kKeep;
  torch::Tensor out;
  double sum = 0;
  {
    auto [engine, optimizer] = initialize_engine(make_deep, config);
    out = engine(batch(0)).detach();
    sum = out.abs().sum().item<double>();
  }
  CATCH_CHECK(sum > 0);
  CATCH_CHECK(out.abs().sum().item<double>() == sum);
}

}  // namespace asterias::test
