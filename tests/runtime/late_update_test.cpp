// Updates that step() puts off: nobody sees a difference but in time, whatever is used first.
#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "case_training.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 6;

// A way down that is slower than all else, so that gradients are still on it when step() is called.
EngineConfig slow(EngineConfig config) {
  config.tiers.gpu.link.d2h_bytes_per_second = 4 * kMiB;
  return config;
}

EngineConfig late_config(EngineConfig config = adamw_config()) {
  config.optimizer.use_hybrid_adam = false;
  config.default_chunk_elements = 2048;
  return config;
}

// Runs `loop` plain, and with room for everything over slow links, where updates have to have been late; then as
// others are compared.
template <class Make, class Loop>
void check_late_bits(const EngineConfig& config, const Make& make, const Loop& loop) {
  const auto plain = run_plain(config, make, loop);
  std::uint64_t num_late = 0;
  const auto late = run_engine(slow(simulated(config, kAmple)), make, [&](auto& run) {
    loop(run);
    num_late += run.engine.stats().late_updates;
  });
  CATCH_CHECK(difference(plain, late.outcome) == "");
  CATCH_CHECK(num_late > 0);
  const auto limit = tight_bytes(late.plan);
  CATCH_CHECK(difference(plain, run_engine(slow(simulated(config, limit)), make, loop).outcome) == "");
}

// Steps with `after` done after step(), on all sides.
template <class After>
auto steps_with(const After& after) {
  return [after](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i));
      run.optimizer.step();
      const torch::NoGradGuard no_grad;
      after(run, i);
    }
  };
}

const auto nothing = [](auto&, int) {};

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "updates are put off where step() would wait, once a step has been seen", "[late]") {
  const auto count = [](const EngineConfig& config) {
    std::uint64_t first = 0, later = 0;
    run_engine(config, make_deep, [&](auto& run) {
      for (int i = 0; i < kSteps; ++i) {
        train_step(run, i);
        (i == 0 ? first : later) += run.engine.stats().late_updates;
      }
    });
    CATCH_CHECK(first == 0);
    return later;
  };
  const auto config = slow(simulated(late_config(), kAmple));
  CATCH_CHECK(count(config) > 0);
  auto clipped = config;
  clipped.gradient_clipping = 0.1;
  CATCH_CHECK(count(clipped) > 0);
  for (const auto off : {0, 1, 2}) {
    CATCH_CAPTURE(off);
    auto other = config;
    if (off == 0) other.placement.late_update = false;
    if (off == 1) other.prefetch = 0;
    if (off == 2) other.device = "cpu", other.tiers.gpu = {};
    CATCH_CHECK(count(other) == 0);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "updates that are put off train with the same bits, in every format", "[late]") {
  for (auto config : {adamw_config(), bf16_config(), fp16_config(16)}) {
    config = late_config(config);
    for (const auto state : {StateDtype::kFp32, StateDtype::kBf16, StateDtype::k8Bit})
      for (const double clip : {0.0, 0.05}) {
        CATCH_CAPTURE(config.bf16.enabled, config.fp16.enabled, static_cast<int>(state), clip);
        config.optimizer.params.state_dtype = state;
        config.gradient_clipping = clip;
        check_late_bits(config, make_deep, steps_with(nothing));
      }
  }
  auto sgd = late_config();
  sgd.optimizer.type = OptimizerType::kSgd;
  sgd.optimizer.params.momentum = 0.9;
  check_late_bits(sgd, make_deep, steps_with(nothing));
}

CATCH_TEST_CASE_METHOD(OneThread, "whoever looks after step() sees what it has done", "[late]") {
  auto config = late_config();
  config.gradient_clipping = 0.1;
  check_late_bits(config, make_deep, steps_with([](auto& run, int) {  // parameters, last layer first
                    for (std::size_t layer = run.module->layers.size(); layer-- > 0;)
                      run.observe(run.module->layers[layer]->weight.abs().sum().template item<double>());
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int) {  // gradients
                    for (const auto& layer : run.module->layers)
                      run.observe(layer->weight.grad().abs().sum().template item<double>());
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int i) {  // an evaluation
                    run.observe(run(batch(100 + i)).sum().template item<double>());
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int) {  // a parameter by its bytes
                    auto& weight = run.module->layers[5]->weight;
                    const auto pin = asterias::pin(weight);
                    run.observe(weight.template data_ptr<float>()[17]);
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int) {  // a view that was made before
                    run.observe(run.module->layers[6]->weight.t().select(0, 3).clone().sum().template item<double>());
                  }));
}

CATCH_TEST_CASE_METHOD(OneThread, "what is changed after step() comes after what it has done", "[late]") {
  auto config = late_config();
  check_late_bits(config, make_deep, steps_with([](auto& run, int i) {  // the learning rate
                    if constexpr (std::decay_t<decltype(run)>::kIsPlain)
                      run.optimizer.hyper().lr = 1e-3 * (i + 1);
                    else
                      run.optimizer.param_groups()[0].options().set_lr(1e-3 * (i + 1));
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int) {  // parameters
                    for (const auto& layer : run.module->layers) layer->weight.mul_(0.9);
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int i) {  // a parameter's data
                    auto& weight = run.module->layers[4]->weight;
                    if (i % 2) weight.set_data(torch::full_like(weight, 0.01).mul_(i));
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int) { run.optimizer.zero_grad(); }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int) {  // gradients in their places
                    for (const auto& layer : run.module->layers) layer->weight.mutable_grad().zero_();
                  }));
  check_late_bits(config, make_deep, steps_with([](auto& run, int i) {  // and another step with them
                    if (i % 2) return;
                    for (const auto& layer : run.module->layers) layer->weight.mutable_grad().mul_(0.5);
                    run.optimizer.step();
                  }));
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients that are added to after step() start from what it has left", "[late]") {
  check_late_bits(late_config(), make_deep, [](auto& run) {
    run.optimizer.zero_grad();
    for (int i = 0; i < 2 * kSteps; ++i) {
      run.backward(loss_of(run, i));
      run.optimizer.step();  // without zero_grad
    }
  });
  check_late_bits(late_config(), make_deep, [](auto& run) {
    for (int i = 0; i < 2 * kSteps; ++i) {
      run.optimizer.zero_grad();
      loss_of(run, i).backward();  // not the engine's: on autograd's own terms
      run.optimizer.step();
    }
  });
}

// Of a part of the model only, in turns: what the next step does not use stays late for long.
CATCH_TEST_CASE_METHOD(OneThread, "parameters that the next steps do not use are updated all the same", "[late]") {
  check_late_bits(late_config(), make_deep, [](auto& run) {
    for (int i = 0; i < 3 * kSteps; ++i) {
      run.optimizer.zero_grad();
      auto x = run.module->layers[0](batch(i));
      for (int layer = 1; layer < (i % 3 == 0 ? 8 : 3); ++layer) x = torch::tanh(run.module->layers[layer](x));
      run.backward(x.pow(2).mean());
      run.optimizer.step();
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "parameters that outlive their engine have the last update", "[late]") {
  const auto config = late_config();
  const auto plain = run_plain(config, make_deep, steps_with(nothing));
  std::shared_ptr<DeepImpl> module;
  {
    torch::manual_seed(3);
    auto made = initialize_engine(make_deep, slow(simulated(config, kAmple)));
    EngineRun<DeepImpl> run{made.engine, made.optimizer, made.engine.module(), {}};
    steps_with(nothing)(run);
    CATCH_CHECK(made.engine.stats().late_updates > 0);
    module = run.module;
  }
  for (const auto& item : module->named_parameters()) {
    const auto expected = std::find_if(plain.state.begin(), plain.state.end(),
                                       [&](const auto& entry) { return entry.first == item.key(); });
    CATCH_CAPTURE(item.key());
    CATCH_REQUIRE(expected != plain.state.end());
    CATCH_CHECK(torch::equal(item.value(), expected->second));
  }
}

}  // namespace asterias::test
