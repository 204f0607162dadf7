// Placement never changes the result: every case of the zoo, over budgets, tiers and policies, against plain libtorch,
// bit for bit.
#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "budgets.hpp"
#include "case_training.hpp"

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

Outcome train_plain(const Case& test) { return test::train_plain(test, base_config(), kSteps); }

CaseRun train_engine(const Case& test, const EngineConfig& config) { return test::train_engine(test, config, kSteps); }

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
