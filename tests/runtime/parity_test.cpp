// Placement never changes the result: every case of the zoo, over budgets, tiers and policies, against plain libtorch,
// bit for bit.
#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "budgets.hpp"
#include "plain_training.hpp"
#include "zoo.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 5;
constexpr double kClip = 0.5;

EngineConfig base_config() {
  auto config = adamw_config();
  config.gradient_clipping = kClip;
  return config;
}

EngineConfig simulated(std::uint64_t gpu_bytes) { return test::simulated(base_config(), gpu_bytes, /*poison=*/false); }

Outcome train_plain(const Case& test) {
  Outcome outcome;
  torch::manual_seed(5);
  auto module = test.make();
  hybrid_adam::HyperParameters hyper;
  hyper.lr = 1e-2;
  hyper.weight_decay = 0.01;
  PlainOptimizer optimizer(trainable(*module), hybrid_adam::Algorithm::kAdamW, hyper, kClip);
  for (int i = 0; i < kSteps; ++i) {
    optimizer.zero_grad();
    Step step{*module, i, [](const auto& forward) { return forward(); },
              [](const torch::Tensor& loss, bool retain, bool create) { loss.backward({}, retain, create); },
              outcome.losses};
    test.step(step);
    optimizer.step();
  }
  outcome.state = copy_state(*module);
  return outcome;
}

struct EngineRun {
  Outcome outcome;
  Plan plan;
  StepStats stats;
  std::uint64_t fingerprint = 0;
};

EngineRun train_engine(const Case& test, const EngineConfig& config) {
  EngineRun run;
  torch::manual_seed(5);
  auto [engine, optimizer] = initialize_engine(test.make, config);
  auto& held = engine;
  for (int i = 0; i < kSteps; ++i) {
    optimizer.zero_grad();
    Step step{*engine.module(), i, [&held](const auto& forward) { return held.run(forward); },
              [&held](const torch::Tensor& loss, bool retain, bool create) { held.backward(loss, {}, retain, create); },
              run.outcome.losses};
    test.step(step);
    optimizer.step();
  }
  for (const auto& item : engine.module()->named_parameters())
    run.outcome.state.emplace_back(item.key(), engine.parameter(item.key()));
  for (const auto& item : engine.module()->named_buffers())
    run.outcome.state.emplace_back(item.key(), engine.buffer(item.key()));
  run.plan = engine.plan();
  run.stats = engine.stats();
  run.fingerprint = engine.fingerprint();
  return run;
}

}  // namespace

CATCH_TEST_CASE("every case has the bits of plain libtorch at every budget", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto plain = train_plain(test);
      const auto unlimited = train_engine(test, simulated(kAmple));
      CATCH_REQUIRE(difference(plain, unlimited.outcome) == "");
      CATCH_CHECK(difference(plain, train_engine(test, base_config()).outcome) == "");
      const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
      const std::uint64_t data = unlimited.plan.model_data_bytes;
      for (const int percent : {50, 12}) {
        const std::uint64_t limit = std::max(need, data * static_cast<std::uint64_t>(percent) / 100);
        for (const auto eviction : {Eviction::kNextUse, Eviction::kLru}) {
          auto config = simulated(limit);
          config.placement.eviction = eviction;
          config.debug.poison = true;
          const auto run = train_engine(test, config);
          CATCH_INFO(percent << " % of " << data << " bytes, need " << need << ", policy "
                             << static_cast<int>(eviction));
          CATCH_CHECK(difference(plain, run.outcome) == "");
          CATCH_CHECK(run.fingerprint == unlimited.fingerprint);
          CATCH_CHECK(run.stats.tiers[0].peak_bytes <= limit);
        }
      }
    }
  }
}

CATCH_TEST_CASE("one page below the traced need is refused, the need itself works", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto unlimited = train_engine(test, simulated(kAmple));
      const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
      const auto at_need = train_engine(test, simulated(need));
      CATCH_CHECK(difference(unlimited.outcome, at_need.outcome) == "");
      CATCH_CHECK_THROWS_AS(train_engine(test, simulated(need - 4096)), Error);
    }
  }
}

CATCH_TEST_CASE("everything evicted after every operator, freed memory poisoned, inputs audited", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto plain = train_plain(test);
      auto config = simulated(kAmple);
      config.debug.poison = true;
      config.debug.evict_always = true;
      config.debug.audit = true;
      CATCH_CHECK(difference(plain, train_engine(test, config).outcome) == "");
    }
  }
}

CATCH_TEST_CASE("everything written to the drive and read back around every operator", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      auto config = simulated(kAmple);
      config.device = "cpu";
      config.tiers.gpu = TierConfig();
      config.debug.evict_always = true;
      const auto run = train_engine(test, config);
      CATCH_CHECK(difference(train_plain(test), run.outcome) == "");
      CATCH_CHECK(run.stats.nvme_write_bytes > 0);
      CATCH_CHECK(run.stats.nvme_read_bytes > 0);
    }
  }
}

}  // namespace asterias::test
