// Chunks that are updated on the accelerator: nobody sees a difference but in moves, whichever they are.
#include <algorithm>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "case_training.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 5;

EngineConfig forced(EngineConfig config, UpdateOnGpu where) {
  config.debug.update_on_gpu = where;
  return config;
}

// A chunk or two for each layer.
EngineConfig small_chunks(EngineConfig config) {
  config.default_chunk_elements = 2048;
  return config;
}

const auto steps = [](auto& run) {
  for (int i = 0; i < kSteps; ++i) train_step(run, i);
};

CATCH_TEST_CASE("every case has the bits of plain libtorch wherever its chunks are updated", "[parity]") {
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      auto config = adamw_config();
      if (test.name.size() % 2) config.gradient_clipping = 0.5;  // else updates are computed ahead of step(), too
      const auto plain = train_plain(test, config, kSteps);
      for (const bool one_piece : {false, true}) {
        config.debug.one_piece = one_piece;
        const auto unlimited = train_engine(test, simulated(config, 64 * kMiB), kSteps);
        CATCH_CHECK(difference(plain, unlimited.outcome) == "");
        CATCH_CHECK(unlimited.stats.updates_on_gpu > 0);
        const std::uint64_t need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
        for (const std::uint64_t limit : {need, std::max(need, unlimited.plan.model_data_bytes / 2)})
          for (const auto where : {UpdateOnGpu::kPlanned, UpdateOnGpu::kAll, UpdateOnGpu::kEverySecond}) {
            CATCH_INFO(one_piece << " " << limit << " bytes, need " << need << ", " << static_cast<int>(where));
            const auto run = train_engine(test, simulated(forced(config, where), limit), kSteps);
            CATCH_CHECK(difference(plain, run.outcome) == "");
            CATCH_CHECK(run.stats.tiers[0].peak_bytes <= limit);
          }
      }
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "updates on the accelerator train with the same bits, in every format",
                       "[gpu_update]") {
  for (auto config : {adamw_config(), bf16_config(), fp16_config()})
    for (const auto state : {StateDtype::kFp32, StateDtype::kBf16, StateDtype::k8Bit})
      for (const auto where : {UpdateOnGpu::kAll, UpdateOnGpu::kEverySecond}) {
        CATCH_CAPTURE(config.bf16.enabled, config.fp16.enabled, static_cast<int>(state), static_cast<int>(where));
        config.optimizer.params.state_dtype = state;
        check_same_bits(forced(small_chunks(config), where), make_deep, steps);
      }
  auto reuse = bf16_config();
  reuse.placement.grad_mode = GradMode::kReuse;
  check_same_bits(forced(small_chunks(reuse), UpdateOnGpu::kEverySecond), make_deep, steps);
  auto sgd = adamw_config();
  sgd.optimizer = {};
  sgd.optimizer.type = OptimizerType::kSgd;
  for (const double momentum : {0.0, 0.9}) {
    sgd.optimizer.params.momentum = momentum;
    check_same_bits(forced(small_chunks(sgd), UpdateOnGpu::kAll), make_deep, steps);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients that lie elsewhere are updated on the CPU in that step", "[gpu_update]") {
  const auto config = forced(small_chunks(adamw_config()), UpdateOnGpu::kAll);
  const auto loop = [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i));
      if (i % 2) run.module->layers[2]->bias.mutable_grad() = torch::full({DeepImpl::kWidth}, 0.25);
      run.optimizer.step();
      if constexpr (!std::decay_t<decltype(run)>::kIsPlain) {
        const auto plan = run.engine.plan();
        if (plan.tiers[0].limit_bytes != kAmple) continue;
        CATCH_CHECK(plan.num_gpu_updates == plan.num_chunks);
        CATCH_CHECK(run.engine.stats().updates_on_gpu == plan.num_chunks - static_cast<std::uint64_t>(i % 2));
      }
    }
  };
  check_same_bits(config, make_deep, loop);
}

// Updates and bytes of state on the accelerator, of the last step and of the plan.
struct Placed {
  std::uint64_t first_updates = 0, last_updates = 0;
  Plan plan, plan_of_a_pass;
  StepStats last;
};

Placed place(const EngineConfig& config) {
  Placed placed;
  run_engine(config, make_deep, [&](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      train_step(run, i);
      placed.last = run.engine.stats();
      if (i == 0) {
        placed.first_updates = placed.last.updates_on_gpu;
        placed.plan_of_a_pass = run.engine.plan();
      }
    }
    placed.last_updates = placed.last.updates_on_gpu;
    placed.plan = run.engine.plan();
  });
  return placed;
}

CATCH_TEST_CASE_METHOD(OneThread,
                       "chunks whose state fits the accelerator's margin are updated there from the second step on",
                       "[gpu_update]") {
  const auto config = small_chunks(adamw_config());
  const auto ample = place(simulated(config, kAmple));
  const auto& plan = ample.plan;
  CATCH_CHECK(ample.first_updates == 0);
  CATCH_CHECK(ample.plan_of_a_pass.num_gpu_updates == plan.num_chunks);  // foretold before it is so
  CATCH_CHECK(ample.last_updates == plan.num_chunks);
  CATCH_CHECK(plan.num_gpu_updates == plan.num_chunks);
  CATCH_CHECK(plan.num_cpu_updates == 0);
  CATCH_CHECK(plan.gpu_state_bytes == plan.content_by_kind[static_cast<std::size_t>(ContentKind::kExpAvg)] +
                                          plan.content_by_kind[static_cast<std::size_t>(ContentKind::kExpAvgSq)]);
  CATCH_CHECK(ample.last.h2d_bytes + ample.last.d2h_bytes == 0);
  CATCH_CHECK(plan.predicted_h2d_bytes + plan.predicted_d2h_bytes == 0);

  const auto half = place(simulated(config, plan.model_data_bytes * 3 / 4));
  CATCH_CHECK(half.last_updates > 0);
  CATCH_CHECK(half.last_updates < plan.num_chunks);
  CATCH_CHECK(half.plan.num_gpu_updates + half.plan.num_cpu_updates == plan.num_chunks);
  CATCH_CHECK(half.last_updates == half.plan.num_gpu_updates);
  CATCH_CHECK(half.plan.gpu_state_bytes > 0);
  CATCH_CHECK(half.plan.gpu_state_bytes < plan.gpu_state_bytes);

  for (const bool is_tight : {true, false}) {
    auto none = simulated(config, is_tight ? tight_bytes(plan) : kAmple);
    none.optimizer.use_hybrid_adam = is_tight;
    const auto below = place(none);
    CATCH_CHECK(below.last_updates == 0);
    CATCH_CHECK(below.plan.num_cpu_updates == plan.num_chunks);
    CATCH_CHECK(below.plan.gpu_state_bytes == 0);
    CATCH_CHECK(below.last.h2d_bytes > 0);
  }
  CATCH_CHECK(place(config).plan.num_gpu_updates == 0);  // no accelerator
}

CATCH_TEST_CASE_METHOD(OneThread, "what moves is foretold with every second chunk updated on the accelerator",
                       "[gpu_update]") {
  auto config = forced(small_chunks(adamw_config()), UpdateOnGpu::kEverySecond);
  config.placement.early_update = false;
  const auto placed = place(simulated(config, kAmple));
  CATCH_CHECK(placed.first_updates == placed.last_updates);
  CATCH_CHECK(placed.last_updates == placed.plan.num_gpu_updates);
  CATCH_CHECK(placed.plan.num_gpu_updates - placed.plan.num_cpu_updates <= 1);
  CATCH_CHECK(placed.last.d2h_bytes > 0);
  CATCH_CHECK(placed.last.d2h_bytes == placed.plan.predicted_d2h_bytes);
  CATCH_CHECK(placed.last.h2d_bytes == placed.plan.predicted_h2d_bytes);
}

// What an update on the accelerator would like to have is no need: what suffices without it does with it.
CATCH_TEST_CASE_METHOD(OneThread, "no budget is refused for updates on the accelerator", "[gpu_update]") {
  for (const bool one_piece : {false, true}) {
    auto config = small_chunks(adamw_config());
    config.debug.one_piece = one_piece;
    config.optimizer.use_hybrid_adam = false;
    const auto below = run_engine(simulated(config, 64 * kMiB), make_deep, steps);
    config.optimizer.use_hybrid_adam = true;
    for (const auto where : {UpdateOnGpu::kPlanned, UpdateOnGpu::kAll}) {
      const auto above = run_engine(simulated(forced(config, where), 64 * kMiB), make_deep, steps);
      CATCH_CHECK(above.stats.updates_on_gpu == above.plan.num_chunks);
      const auto& need = tier_plan(above.plan, Tier::kGpu);
      CATCH_CHECK(need.working_set_bytes == tier_plan(below.plan, Tier::kGpu).working_set_bytes);
      CATCH_CHECK(need.smallest_bytes == tier_plan(below.plan, Tier::kGpu).smallest_bytes);
      const auto least = run_engine(simulated(forced(config, where), need.working_set_bytes), make_deep, steps);
      CATCH_CHECK(difference(below.outcome, least.outcome) == "");
      CATCH_CHECK_THROWS_AS(
          run_engine(simulated(forced(config, where), need.working_set_bytes - 4096), make_deep, steps), Error);
    }
  }
}

// A layer's lists are larger than the accelerator, which holds a part of an operator's rows at a time.
CATCH_TEST_CASE_METHOD(OneThread, "a chunk whose lists do not fit the accelerator at once is updated on the CPU",
                       "[gpu_update]") {
  const auto config = forced(adamw_config(), UpdateOnGpu::kAll);
  const auto unlimited = run_engine(simulated(config, kAmple), make_deep, steps);
  const auto& need = tier_plan(unlimited.plan, Tier::kGpu);
  CATCH_REQUIRE(4 * unlimited.plan.chunk_bytes > need.working_set_bytes);
  const auto limited = run_engine(simulated(config, need.working_set_bytes), make_deep, steps);
  CATCH_CHECK(difference(unlimited.outcome, limited.outcome) == "");
  CATCH_CHECK(limited.stats.updates_on_gpu == 0);
  CATCH_CHECK(limited.plan.num_gpu_updates == 0);
}

}  // namespace
}  // namespace asterias::test
