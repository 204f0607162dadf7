// One training loop, written once and run four times: on plain libtorch, under an engine on the CPU alone, where
// nothing has to move, under one whose accelerator has room for everything, and under one whose accelerator holds 12 %
// of the model data. Whatever it observes, and every parameter and buffer at its end, must have the same bits.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "budgets.hpp"
#include "plain_training.hpp"

namespace asterias::test {

// ---- a module to train ----------------------------------------------------------------------------------------------

// Layers of 16 KiB each and a buffer that changes, deep enough that 12 % of the model data are a few layers.
struct DeepImpl : torch::nn::Module {
  static constexpr std::int64_t kWidth = 64;

  explicit DeepImpl(int num_layers = 8) {
    for (int i = 0; i < num_layers; ++i)
      layers.push_back(register_module("layer" + std::to_string(i), torch::nn::Linear(kWidth, kWidth)));
    mean = register_buffer("mean", torch::zeros({32, kWidth}));
  }
  torch::Tensor forward(torch::Tensor x) {
    for (auto& layer : layers) x = torch::tanh(layer(x));
    if (is_training()) {
      const torch::NoGradGuard no_grad;
      mean.mul_(0.9).add_(x.detach(), 0.1);
    }
    return x;
  }

  std::vector<torch::nn::Linear> layers;
  torch::Tensor mean;
};
TORCH_MODULE(Deep);

inline torch::Tensor normal(std::vector<std::int64_t> sizes, int seed) {
  return torch::randn(sizes, at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed)));
}
inline torch::Tensor batch(int seed) { return normal({32, DeepImpl::kWidth}, seed); }

// A fixture for modules so small that OpenMP's waiting threads would cost more than they do; the parity matrix runs
// with all threads.
struct OneThread {
  OneThread() { at::set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { at::set_num_threads(before); }
  const int before = at::get_num_threads();
};

// ---- the two sides --------------------------------------------------------------------------------------------------

// What a loop may use of the plain side.
template <class M>
struct PlainRun {
  static constexpr bool kIsPlain = true;
  std::shared_ptr<M> module;
  PlainOptimizer optimizer;
  Outcome outcome;
  torch::ScalarType dtype = torch::kFloat;  // of inputs

  template <class T>
  std::decay_t<T> cast(T&& argument) const {
    if constexpr (std::is_same_v<std::decay_t<T>, torch::Tensor>)
      return argument.is_floating_point() ? argument.to(dtype) : argument;
    else
      return argument;
  }
  template <class... Args>
  decltype(auto) operator()(Args&&... args) {
    return module->forward(cast(std::forward<Args>(args))...);
  }
  void backward(const torch::Tensor& loss, const torch::Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) {
    optimizer.backward(loss, gradient, retain_graph, create_graph);
  }
  void observe(double value) { outcome.losses.push_back(value); }
  void observe(const std::string& name, const torch::Tensor& tensor) {
    outcome.state.emplace_back(name, tensor.detach().clone());
  }
};

// And of the engine's, under the same names.
template <class M>
struct EngineRun {
  static constexpr bool kIsPlain = false;
  Engine<M>& engine;
  asterias::Optimizer& optimizer;
  std::shared_ptr<M> module;
  Outcome outcome;

  template <class... Args>
  decltype(auto) operator()(Args&&... args) {
    return engine(std::forward<Args>(args)...);
  }
  void backward(const torch::Tensor& loss, const torch::Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) {
    engine.backward(loss, gradient, retain_graph, create_graph);
  }
  void observe(double value) { outcome.losses.push_back(value); }
  void observe(const std::string& name, const torch::Tensor& tensor) {
    outcome.state.emplace_back(name, tensor.detach().clone());
  }
};

inline auto make_deep() { return Deep(); }

template <class Make, class Loop>
Outcome run_plain(const EngineConfig& config, const Make& make, const Loop& loop) {
  torch::manual_seed(3);
  auto module = make().ptr();
  PlainOptimizer optimizer(trainable(*module), algorithm_of(config.optimizer.type),
                           hyper_of(config.optimizer.type, config.optimizer.params),
                           config.gradient_clipping.value_or(0));
  optimizer.use_precision(*module, config);
  optimizer.use_state(*module, config);
  PlainRun<typename decltype(make())::ContainedType> run{module, std::move(optimizer), {}, half_of(config)};
  loop(run);
  const auto value_of = [&](const std::string&, const auto& parameter) { return run.optimizer.value(parameter); };
  for (auto& item : full_state(*module, value_of)) run.outcome.state.push_back(std::move(item));
  return std::move(run.outcome);
}

struct EngineOutcome {
  Outcome outcome;
  Plan plan;
  StepStats stats;
};

template <class Make, class Loop>
EngineOutcome run_engine(const EngineConfig& config, const Make& make, const Loop& loop,
                         const GroupOf& group_of = nullptr) {
  torch::manual_seed(3);
  auto made = initialize_engine(make, config, group_of);
  EngineRun<typename decltype(make())::ContainedType> run{made.engine, made.optimizer, made.engine.module(), {}};
  loop(run);
  const auto value_of = [&](const std::string& name, const auto&) { return made.engine.parameter(name); };
  for (auto& item : full_state(*run.module, value_of)) run.outcome.state.push_back(std::move(item));
  return {std::move(run.outcome), made.engine.plan(), made.engine.stats()};
}

// Runs `loop` on all four sides and compares. `config` names optimizer and clipping; the tiers are chosen here.
template <class Make, class Loop>
void check_same_bits(const EngineConfig& config, const Make& make, const Loop& loop,
                     const GroupOf& group_of = nullptr) {
  const auto plain = run_plain(config, make, loop);
  auto alone = config;
  alone.device = "cpu";
  CATCH_CHECK(difference(plain, run_engine(alone, make, loop, group_of).outcome) == "");
  const auto unlimited = run_engine(simulated(config, kAmple), make, loop, group_of);
  CATCH_CHECK(difference(plain, unlimited.outcome) == "");
  const auto limit = tight_bytes(unlimited.plan);
  const auto limited = run_engine(simulated(config, limit), make, loop, group_of);
  CATCH_INFO("compute tier of " << limit << " of " << unlimited.plan.model_data_bytes << " bytes of model data");
  CATCH_CHECK(difference(plain, limited.outcome) == "");
  CATCH_CHECK(limited.stats.tiers[0].peak_bytes <= limit);
}

// Finds the tight budget of a loop by running it without limits. Torch's generator is as before: a test may have seeded
// it already.
template <class Make, class Loop>
std::uint64_t find_tight_bytes(const EngineConfig& config, const Make& make, const Loop& loop) {
  auto generator = at::detail::getDefaultCPUGenerator();
  const auto random_state = generator.get_state();
  const auto bytes = tight_bytes(run_engine(simulated(config, kAmple), make, loop).plan);
  generator.set_state(random_state);
  return bytes;
}

// What most tests train for.
template <class Run>
torch::Tensor loss_of(Run& run, int iteration) {
  return (run(batch(iteration)) - 0.1).pow(2).mean();
}

// The loop that most tests build on.
template <class Run>
void train_step(Run& run, int iteration) {
  run.optimizer.zero_grad();
  const auto loss = loss_of(run, iteration);
  run.backward(loss);
  run.observe(loss.template item<double>());
  run.optimizer.step();
}

}  // namespace asterias::test
