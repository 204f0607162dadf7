// Placement never changes the result: every case of the zoo, over budgets, tiers and policies, against plain libtorch,
// bit for bit.
#include <algorithm>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "budgets.hpp"
#include "case_training.hpp"
#include "runtime/name_pattern.hpp"
#include "tests/faults/system_call_faults.hpp"

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

Outcome train_plain(const Case& test, const EngineConfig& config = base_config()) {
  return test::train_plain(test, config, kSteps);
}

CaseRun train_engine(const Case& test, const EngineConfig& config) { return test::train_engine(test, config, kSteps); }

// Every operator writes all it has to the drive and reads it back.
EngineConfig around_the_drive() {
  auto config = simulated(kAmple);
  config.device = "cpu";
  config.tiers.gpu = TierConfig();
  config.debug.evict_always = true;
  return config;
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
        for (const auto eviction : {Eviction::kNextUse, Eviction::kLru, Eviction::kFifo, Eviction::kStatic}) {
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

// As on a card: memory is one piece, and what an operator asks for must have room in one place.
CATCH_TEST_CASE("every case has the bits of plain libtorch on an accelerator whose memory is one piece", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto plain = train_plain(test);
      const auto in_one_piece = [](std::uint64_t gpu_bytes) {
        auto config = simulated(gpu_bytes);
        config.debug.one_piece = true;
        config.debug.poison = true;
        return config;
      };
      const auto unlimited = train_engine(test, in_one_piece(64 * kMiB));
      CATCH_REQUIRE(difference(plain, unlimited.outcome) == "");
      const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
      const std::uint64_t data = unlimited.plan.model_data_bytes;
      for (const std::uint64_t limit : {need, std::max(need, data / 8), std::max(need, data / 2)}) {
        for (const auto eviction : {Eviction::kNextUse, Eviction::kLru}) {
          auto config = in_one_piece(limit);
          config.placement.eviction = eviction;
          CATCH_INFO(limit << " bytes, need " << need << ", policy " << static_cast<int>(eviction));
          const auto run = train_engine(test, config);
          CATCH_CHECK(difference(plain, run.outcome) == "");
          CATCH_CHECK(run.stats.tiers[0].peak_bytes <= limit);
        }
      }
    }
  }
}

// Norms stay in fp32: a model that has some then has mixed dtypes, and a batch norm needs it.
EngineConfig half_config() {
  auto config = base_config();
  config.precision.keep_fp32 = {"*norm*"};
  return config;
}

// Cases that need several backwards before a step, which gradients in their parameters' places leave no room for.
bool needs_separate_gradients(const Case& test) {
  return test.name.find("micro-batches") != test.name.npos || test.name.find("retained graph") != test.name.npos;
}

// A pattern that matches no parameter is refused.
EngineConfig config_for(const Case& test, EngineConfig config) {
  const auto names = test.make()->named_parameters().keys();
  const auto is_kept = [&](const auto& name) { return runtime::matches_any(config.precision.keep_fp32, name); };
  if (std::none_of(names.begin(), names.end(), is_kept)) config.precision.keep_fp32.clear();
  return config;
}

// In 16 bits the reference keeps its masters by hand, coded state tensor by tensor. Fewer places than in fp32: what
// moves is the same.
void check_formats(const EngineConfig& of_all) {
  const bool reuses = of_all.placement.grad_mode == GradMode::kReuse;
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto config = config_for(test, of_all);
      if (reuses && needs_separate_gradients(test)) {
        CATCH_CHECK_THROWS_WITH(train_engine(test, test::simulated(config, kAmple)),
                                Catch::Contains("placement.grad_mode"));
        continue;
      }
      const auto plain = train_plain(test, config);
      const auto unlimited = train_engine(test, test::simulated(config, kAmple, /*poison=*/false));
      CATCH_REQUIRE(difference(plain, unlimited.outcome) == "");
      const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
      const auto at_need = train_engine(test, test::simulated(config, need));
      CATCH_CHECK(difference(plain, at_need.outcome) == "");
      CATCH_CHECK(at_need.fingerprint == unlimited.fingerprint);
      CATCH_CHECK_THROWS_AS(train_engine(test, test::simulated(config, need - 4096)), Error);
      auto on_drive = config;
      on_drive.tiers.nvme.paths = {swap_folder()};
      on_drive.debug.evict_always = true;
      const auto swapped = train_engine(test, on_drive);
      CATCH_CHECK(difference(plain, swapped.outcome) == "");
      CATCH_CHECK(swapped.stats.nvme_read_bytes > 0);
    }
  }
}

CATCH_TEST_CASE("every case has the same bits wherever its activations may lie", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto plain = train_plain(test);
      for (const auto activations : {ActivationPlacement::kKeep, ActivationPlacement::kOffload}) {
        auto config = simulated(kAmple);
        config.placement.activations = activations;
        config.debug.poison = true;
        const auto unlimited = train_engine(test, config);
        CATCH_CAPTURE(static_cast<int>(activations));
        CATCH_CHECK(difference(plain, unlimited.outcome) == "");
        config.tiers.gpu.limit.bytes = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
        CATCH_CHECK(difference(plain, train_engine(test, config).outcome) == "");
      }
    }
  }
}

CATCH_TEST_CASE("every case has the bits of plain libtorch in bf16 with masters", "[parity]") {
  auto config = half_config();
  config.bf16.enabled = true;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch in bf16 with gradients in fp32", "[parity]") {
  auto config = half_config();
  config.bf16.enabled = true;
  config.data_types.grad_accum_dtype = GradAccumDtype::kFp32;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch in fp16 with masters and loss scaling", "[parity]") {
  auto config = half_config();
  config.fp16.enabled = true;
  config.fp16.initial_scale_power = 8;
  config.fp16.loss_scale_window = 2;  // the scale changes within the five steps
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch with bf16 state", "[parity]") {
  auto config = base_config();
  config.optimizer.params.state_dtype = StateDtype::kBf16;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch with 8-bit state", "[parity]") {
  auto config = base_config();
  config.optimizer.params.state_dtype = StateDtype::k8Bit;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch in bf16 with 8-bit state", "[parity]") {
  auto config = half_config();
  config.bf16.enabled = true;
  config.optimizer.params.state_dtype = StateDtype::k8Bit;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch in fp16 with bf16 state", "[parity]") {
  auto config = half_config();
  config.fp16.enabled = true;
  config.fp16.initial_scale_power = 8;
  config.optimizer.params.state_dtype = StateDtype::kBf16;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch with bf16 gradients in their parameters' places",
                "[parity]") {
  auto config = half_config();
  config.bf16.enabled = true;
  config.placement.grad_mode = GradMode::kReuse;
  check_formats(config);
}

CATCH_TEST_CASE("every case has the bits of plain libtorch with fp16 gradients in their parameters' places",
                "[parity]") {
  auto config = half_config();
  config.fp16.enabled = true;
  config.fp16.initial_scale_power = 8;
  config.fp16.loss_scale_window = 2;
  config.placement.grad_mode = GradMode::kReuse;
  check_formats(config);
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
      const auto run = train_engine(test, around_the_drive());
      CATCH_CHECK(difference(train_plain(test), run.outcome) == "");
      CATCH_CHECK(run.stats.nvme_write_bytes > 0);
      CATCH_CHECK(run.stats.nvme_read_bytes > 0);
    }
  }
}

CATCH_TEST_CASE("every case has the bits of plain libtorch on a drive that is late and interrupted",
                "[parity][fault]") {
  tests::FaultOrders orders;  // no short transfers: sector by sector the zoo would take an hour
  orders.interrupted = true;
  orders.io_delay_us = 50;
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      const auto plain = train_plain(test);
      for (const auto engine : {IoEngine::kAuto, IoEngine::kThreads}) {
        auto config = around_the_drive();
        config.io.engine = engine;
        const tests::Faults faults(orders);
        const auto run = train_engine(test, config);
        CATCH_INFO(io_engine_name(engine));
        CATCH_CHECK(difference(plain, run.outcome) == "");
        CATCH_CHECK(run.stats.nvme_read_bytes > 0);
      }
    }
  }
}

}  // namespace asterias::test
