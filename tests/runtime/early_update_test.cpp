// Updates that are computed before step(): nobody sees a difference but in time, whatever happens in between.
#include <limits>
#include <tuple>
#include <utility>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "case_training.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 8;  // at the end of the sixth the engine foretells what later ones hold, and keeps to it

// Steps with `between` done after backward, on all sides.
template <class Between>
auto steps_with(const Between& between) {
  return [between](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i));
      {
        const torch::NoGradGuard no_grad;
        between(run, i);
      }
      run.optimizer.step();
    }
  };
}

const auto nothing = [](auto&, int) {};

// Where the CPU updates, whatever the room above.
EngineConfig on_cpu(EngineConfig config) {
  config.optimizer.use_hybrid_adam = false;
  return config;
}

EngineConfig roomy(EngineConfig config) { return simulated(std::move(config), kAmple); }

// The chunks of all steps that were updated before step(), and all chunks that could be.
template <class Loop>
std::pair<std::uint64_t, std::uint64_t> count_early(const EngineConfig& config, const Loop& loop) {
  std::uint64_t taken = 0, chunks = 0;
  run_engine(config, make_deep, [&](auto& run) {
    const auto count = [&](auto& inner) {
      if (inner.engine.stats().step > 0) taken += inner.engine.stats().early_updates;
      chunks += inner.engine.plan().num_chunks;
    };
    for (int i = 0; i < kSteps; ++i) {
      loop(run, i);
      count(run);
    }
  });
  return {taken, chunks};
}

// Operators enough that moves have ended on the busiest machine.
void pass_time() {
  auto counter = torch::zeros({1});
  for (int i = 0; i < 2000; ++i) counter += 1;
}

template <class Run>
void step(Run& run, int i) {
  run.optimizer.zero_grad();
  run.backward(loss_of(run, i));
  pass_time();
  run.optimizer.step();
}

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "updates are computed while backward runs, once a step has been seen", "[early]") {
  auto config = roomy(on_cpu(adamw_config()));
  config.default_chunk_elements = 2048;  // a chunk or two for each layer
  const auto one_step = [](auto& run, int i) { step(run, i); };
  const auto [taken, chunks] = count_early(config, one_step);
  CATCH_CHECK(taken > 0);
  CATCH_CHECK(taken < chunks);  // nothing is foretold of the first step
  for (const auto off : {0, 1, 2, 3}) {
    CATCH_CAPTURE(off);
    auto other = config;
    if (off == 0) other.placement.early_update = false;
    if (off == 1) other.prefetch = 0;
    if (off == 2) other.gradient_clipping = 1;
    if (off == 3) other.device = "cpu", other.tiers.gpu = {};
    CATCH_CHECK(count_early(other, one_step).first == 0);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "updates ahead of step() train with the same bits, in every format", "[early]") {
  for (auto config : {adamw_config(), bf16_config(), fp16_config()}) {
    config = on_cpu(config);
    config.default_chunk_elements = 2048;
    for (const auto state : {StateDtype::kFp32, StateDtype::kBf16, StateDtype::k8Bit}) {
      CATCH_CAPTURE(config.bf16.enabled, config.fp16.enabled, static_cast<int>(state));
      config.optimizer.params.state_dtype = state;
      check_same_bits(config, make_deep, steps_with(nothing));
      CATCH_CHECK(count_early(roomy(config), [](auto& run, int i) { step(run, i); }).first > 0);
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "what is changed between backward and step() counts, whatever was computed",
                       "[early]") {
  auto config = on_cpu(adamw_config());
  config.default_chunk_elements = 2048;
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {  // the learning rate
                    if (i % 2 == 0) return;
                    if constexpr (std::decay_t<decltype(run)>::kIsPlain)
                      run.optimizer.hyper().lr = 1e-3 * i;
                    else
                      run.optimizer.param_groups()[0].options().set_lr(1e-3 * i);
                  }));
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {  // a gradient
                    if (i % 2) run.module->layers[3]->weight.mutable_grad().mul_(0.5);
                  }));
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {  // a gradient that is no more
                    if (i % 2) run.module->layers[2]->bias.mutable_grad().reset();
                  }));
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {  // another gradient
                    if (i % 2) run.module->layers[2]->bias.mutable_grad() = torch::full({DeepImpl::kWidth}, 0.25);
                  }));
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {  // a parameter
                    if (i % 2) run.module->layers[3]->weight.mul_(0.9);
                  }));
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {  // a parameter's data
                    auto& weight = run.module->layers[3]->weight;
                    if (i % 2) weight.set_data(torch::full_like(weight, 0.01).mul_(i));
                  }));
}

CATCH_TEST_CASE_METHOD(OneThread, "nothing shows before step()", "[early]") {
  auto config = on_cpu(adamw_config());
  config.default_chunk_elements = 2048;
  check_same_bits(config, make_deep, steps_with([](auto& run, int) {
                    for (const auto& layer : run.module->layers) {
                      run.observe(layer->weight.abs().sum().template item<double>());
                      run.observe(layer->weight.grad().abs().sum().template item<double>());
                    }
                    run.observe(run(batch(99)).sum().template item<double>());
                  }));
}

CATCH_TEST_CASE_METHOD(OneThread, "backward that is not the last, or was for nothing, is not taken for the last",
                       "[early]") {
  auto config = on_cpu(adamw_config());
  config.default_chunk_elements = 2048;
  check_same_bits(config, make_deep, [](auto& run) {
    for (int i = 0; i < 2 * kSteps; ++i) {
      run.optimizer.zero_grad();
      for (int pass = 0; pass <= (i % 3 == 2); ++pass) run.backward(loss_of(run, 10 * i + pass));
      if (i % 4 == 3) {
        run.optimizer.zero_grad();
        run.backward(loss_of(run, 1000 + i));
      }
      if (i % 5 != 4) run.optimizer.step();  // else this step's gradients are thrown away
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "a step that overflows takes nothing of what was computed", "[early]") {
  auto config = on_cpu(fp16_config(16));
  config.fp16.loss_scale_window = 2;
  config.default_chunk_elements = 2048;
  check_same_bits(config, make_deep, steps_with([](auto& run, int i) {
                    if (i % 3 == 2)
                      run.module->layers[0]->bias.mutable_grad().fill_(std::numeric_limits<float>::infinity());
                  }));
}

// State lies on the drive and is brought while backward runs: DRAM has room for a part of it, what is kept for the
// libraries to grow and drift, and some MiB.
CATCH_TEST_CASE_METHOD(OneThread, "with a drive below, too, updates ahead of step() train with the same bits",
                       "[early]") {
  static constexpr int kWidth = 512;
  const auto make = [] {
    torch::nn::Sequential layers;
    for (int layer = 0; layer < 24; ++layer) layers->push_back(torch::nn::Linear(kWidth, kWidth));
    return layers;
  };
  const auto train = [](auto& run) {
    std::uint64_t taken = 0;
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      run.backward((run(torch::full({4, kWidth}, 0.01 * i)) - 0.1).pow(2).mean());
      pass_time();
      run.optimizer.step();
      if constexpr (!std::decay_t<decltype(run)>::kIsPlain) taken += run.engine.stats().early_updates;
    }
    return taken;
  };
  auto config = simulated(on_cpu(adamw_config()), kAmple);
  config.default_chunk_elements = kWidth * kWidth;
  const auto plain = run_plain(config, make, [&](auto& run) { train(run); });
  std::uint64_t taken = 0;
  const auto loop = [&](auto& run) { taken = train(run); };
  const auto ample = run_engine(config, make, loop);
  config.tiers.cpu.limit.bytes = tier_plan(ample.plan, Tier::kCpu).smallest_bytes + 8 * kMiB;
  const auto limited = run_engine(config, make, loop);
  CATCH_CHECK(difference(plain, limited.outcome) == "");
  CATCH_CHECK(limited.stats.nvme_read_bytes > 0);
  CATCH_CHECK(taken > 0);
}

}  // namespace asterias::test
