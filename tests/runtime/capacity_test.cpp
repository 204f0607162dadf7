// What cannot fit: refused before the first update with budgets that would do; later, an error that leaves the weights
// as they were.
#include "base/byte_size.hpp"
#include "gpt_pass.hpp"

namespace asterias::test {
namespace {

using Catch::Matchers::Contains;

models::Gpt make_gpt() {
  models::GptOptions options;
  options.vocabulary = 64;
  options.sequence = 64;
  options.layers = 3;
  options.hidden = 64;
  options.heads = 4;
  return models::Gpt(options);
}

template <class Run>
void gpt_step(Run& run, int iteration, std::int64_t tokens) {
  run.optimizer.zero_grad();
  gpt_pass(run, iteration, 64, 2, tokens);
  run.optimizer.step();
}

constexpr auto short_steps = [](auto& run) {
  for (int i = 0; i < 4; ++i) gpt_step(run, i, 8);
};
constexpr auto long_steps = [](auto& run) {
  for (int i = 0; i < 4; ++i) gpt_step(run, i, 64);
};

// A module of 48 MiB of model data: more than the libraries' memory varies.
Deep make_deepest() { return Deep(720); }

constexpr auto two_deep_steps = [](auto& run) {
  for (int i = 0; i < 2; ++i) train_step(run, i);
};

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread,
                       "without a drive, tiers too small together are refused, and the DRAM budget named works",
                       "[capacity]") {
  const auto plain = run_plain(adamw_config(), make_deepest, two_deep_steps);
  auto config = simulated(adamw_config(), kAmple);
  config.tiers.nvme.paths.clear();
  const auto unlimited = run_engine(config, make_deepest, two_deep_steps);
  CATCH_REQUIRE(difference(plain, unlimited.outcome) == "");
  config.tiers.gpu.limit.bytes = tight_bytes(unlimited.plan);
  const std::uint64_t libraries = unlimited.stats.tiers[static_cast<int>(Tier::kCpu)].used_bytes;
  config.tiers.cpu.limit.bytes = libraries;  // of which most is no model data
  std::vector<TierBudget> smallest;
  int steps_taken = 0;
  try {
    run_engine(config, make_deepest, [&](auto& run) {
      const auto before = run.engine.fingerprint();
      try {
        train_step(run, 0);
        ++steps_taken;
      } catch (const BudgetError&) {
        run.module->mean.zero_();  // the forward moved it
        CATCH_CHECK(run.engine.fingerprint() == before);
        throw;
      }
    });
  } catch (const BudgetError& error) {
    CATCH_INFO(error.what());
    smallest = error.smallest();
    CATCH_CHECK(error.need_bytes() > error.have_bytes());
    for (const auto& budget : smallest)
      CATCH_CHECK_THAT(error.what(), Contains("tiers." + std::string(tier_name(budget.tier)) + ".limit to at least " +
                                              format_bytes(budget.bytes)));
  }
  CATCH_CHECK(steps_taken == 0);
  CATCH_REQUIRE(smallest.size() == 1);
  for (const auto& budget : smallest) {
    CATCH_CHECK(
        budget.tier ==
        Tier::kCpu);  // what has been updated lies in DRAM and never moves up: more of the accelerator alone is no help
    auto raised = config;
    raised.tiers.cpu.limit.bytes = budget.bytes;
    CATCH_INFO("with " << format_bytes(budget.bytes) << " on " << tier_name(budget.tier));
    CATCH_CHECK(difference(plain, run_engine(raised, make_deepest, two_deep_steps).outcome) == "");
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a step() before the first pass does not end the measuring", "[capacity]") {
  const auto need =
      tier_plan(run_engine(simulated(adamw_config(), kAmple), make_gpt, long_steps).plan, Tier::kGpu).working_set_bytes;
  auto [engine, optimizer] = initialize_engine(make_gpt, simulated(adamw_config(), need - 4096));
  optimizer.step();
  EngineRun<models::GptImpl> run{engine, optimizer, engine.module(), {}};
  CATCH_CHECK_THROWS_AS(gpt_step(run, 0, 64), BudgetError);
}

CATCH_TEST_CASE_METHOD(OneThread,
                       "a longer sequence that does not fit is an error, the weights and the next steps are right",
                       "[capacity]") {
  const auto plain = run_plain(adamw_config(), make_gpt, short_steps);
  const auto need = tier_plan(run_engine(simulated(adamw_config(), kAmple), make_gpt, short_steps).plan, Tier::kGpu)
                        .working_set_bytes;
  const auto engine = run_engine(simulated(adamw_config(), need), make_gpt, [&](auto& run) {
    gpt_step(run, 0, 8);
    gpt_step(run, 1, 8);
    const auto before = run.engine.fingerprint();
    for (int attempt = 0; attempt < 2; ++attempt) {
      try {
        gpt_step(run, 50, 64);
        CATCH_FAIL("64 tokens fitted");
      } catch (const OutOfMemory& error) {
        CATCH_CHECK(error.tier() == Tier::kGpu);
        CATCH_CHECK(error.have_bytes() == need);
        CATCH_CHECK(error.need_bytes() > need);
        CATCH_CHECK_THAT(error.what(), Contains("gpu tier") && Contains("tiers.gpu.limit"));
      }
      CATCH_CHECK(run.engine.fingerprint() == before);
    }
    gpt_step(run, 2, 8);
    gpt_step(run, 3, 8);
    CATCH_CHECK_FALSE(run.engine.stats().is_warm_up);
  });
  CATCH_CHECK(difference(plain, engine.outcome) == "");
}

}  // namespace asterias::test
