// The optimizer is torch's in every respect a training loop can see: options, schedulers, groups, clipping,
// accumulation, gradients as ordinary tensors. Bits are compared with plain libtorch at small budgets; what is not
// supported is refused before anything changes.
#include <array>
#include <limits>

#include <torch/optim/schedulers/reduce_on_plateau_scheduler.h>
#include <torch/optim/schedulers/step_lr.h>

#include "base/byte_size.hpp"
#include "base/process_memory.hpp"
#include "runtime/storage_slot.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

using Catch::Matchers::Contains;
using torch::Tensor;

constexpr int kSteps = 6;

constexpr auto six_steps = [](auto& run) {
  for (int i = 0; i < kSteps; ++i) train_step(run, i);
};

EngineConfig config_of(OptimizerType type, OptimizerParams params) {
  auto config = adamw_config();
  config.optimizer.type = type;
  config.optimizer.params = std::move(params);
  return config;
}

// Two branches of which a step may use one.
struct BranchesImpl : torch::nn::Module {
  BranchesImpl() : often(register_module("often", Deep(3))), rarely(register_module("rarely", Deep(3))) {}
  Tensor forward(const Tensor& x, bool use_both) { return use_both ? often(x) + rarely(x) : often(x); }
  Deep often, rarely;
};
TORCH_MODULE(Branches);

// An engine on its own, after one step.
struct Trained {
  explicit Trained(EngineConfig config = adamw_config())
      : made(initialize_engine(make_deep, simulated(config, kAmple))),
        run{made.engine, made.optimizer, made.engine.module(), {}} {
    train_step(run, 0);
  }
  Trained(const Trained&) = delete;  // run refers to made
  Trained& operator=(const Trained&) = delete;
  std::uint64_t fingerprint() { return made.engine.fingerprint(); }
  decltype(initialize_engine(make_deep, EngineConfig())) made;
  EngineRun<DeepImpl> run;
};

}  // namespace

// ---- the formulas ---------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "Adam, AdamW and SGD step as plain libtorch with the same formula", "[optimizer]") {
  OptimizerParams adam;
  adam.lr = 1e-2;
  adam.betas = {0.8, 0.99};
  adam.eps = 1e-6;
  adam.weight_decay = 0.05;
  OptimizerParams sgd, momentum, nesterov, dampening, decay;
  sgd.lr = momentum.lr = nesterov.lr = dampening.lr = decay.lr = 0.1;
  momentum.momentum = nesterov.momentum = dampening.momentum = decay.momentum = 0.9;
  nesterov.nesterov = true;
  dampening.dampening = 0.3;
  decay.weight_decay = 0.02;
  const std::vector<std::pair<std::string, EngineConfig>> cases = {
      {"Adam with its defaults", config_of(OptimizerType::kAdam, {})},
      {"Adam", config_of(OptimizerType::kAdam, adam)},
      {"AdamW with its defaults", config_of(OptimizerType::kAdamW, {})},
      {"AdamW", config_of(OptimizerType::kAdamW, adam)},
      {"SGD", config_of(OptimizerType::kSgd, sgd)},
      {"SGD with momentum", config_of(OptimizerType::kSgd, momentum)},
      {"SGD with nesterov", config_of(OptimizerType::kSgd, nesterov)},
      {"SGD with dampening", config_of(OptimizerType::kSgd, dampening)},
      {"SGD with momentum and weight decay", config_of(OptimizerType::kSgd, decay)},
  };
  for (const auto& [name, config] : cases) CATCH_DYNAMIC_SECTION(name) {
      check_same_bits(config, make_deep, six_steps);
    }
}

// ---- options and groups ---------------------------------------------------------------------------------------------

// Trains under a scheduler made by `make_scheduler`: on the engine's optimizer, and for plain libtorch on one of
// torch's own, of which only the lr is used. Returns the lr of every step.
template <class Make, class Advance>
std::vector<double> check_scheduler(const Make& make_scheduler, const Advance& advance) {
  std::array<std::vector<double>, 2> lrs;
  check_same_bits(config_of(OptimizerType::kAdamW, {}), make_deep, [&](auto& run) {
    constexpr bool kIsPlain = std::decay_t<decltype(run)>::kIsPlain;
    torch::optim::AdamW torchs({torch::zeros({1})}, torch::optim::AdamWOptions(1e-3));
    torch::optim::Optimizer* optimizer = &torchs;
    if constexpr (!kIsPlain) optimizer = &run.optimizer;
    auto scheduler = make_scheduler(*optimizer);
    lrs[kIsPlain].clear();
    for (int i = 0; i < kSteps; ++i) {
      lrs[kIsPlain].push_back(optimizer->param_groups()[0].options().get_lr());
      if constexpr (kIsPlain) run.optimizer.hyper().lr = lrs[kIsPlain].back();
      train_step(run, i);
      if constexpr (!kIsPlain) CATCH_CHECK(run.engine.stats().lr == lrs[kIsPlain].back());
      advance(scheduler);
    }
  });
  CATCH_CHECK(lrs[0] == lrs[1]);
  return lrs[0];
}

CATCH_TEST_CASE_METHOD(OneThread, "torch::optim::StepLR changes the learning rate at its step", "[optimizer]") {
  const auto lrs = check_scheduler([](auto& optimizer) { return torch::optim::StepLR(optimizer, 2, 0.1); },
                                   [](auto& scheduler) { scheduler.step(); });
  CATCH_CHECK(lrs.back() < lrs.front());
}

CATCH_TEST_CASE_METHOD(OneThread, "torch::optim::ReduceLROnPlateauScheduler lowers the learning rate", "[optimizer]") {
  using Scheduler = torch::optim::ReduceLROnPlateauScheduler;
  const auto lrs = check_scheduler([](auto& optimizer) { return Scheduler(optimizer, Scheduler::min, 0.5F, 1); },
                                   [](auto& scheduler) { scheduler.step(1.0F); });
  CATCH_CHECK(lrs.back() < lrs.front());
}

CATCH_TEST_CASE_METHOD(OneThread, "options changed by hand between steps take effect", "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      if (i == 3) {
        if constexpr (std::decay_t<decltype(run)>::kIsPlain) {
          auto& hyper = run.optimizer.hyper();
          std::tie(hyper.lr, hyper.beta1, hyper.beta2, hyper.eps, hyper.weight_decay) =
              std::tuple(3e-3, 0.7, 0.9, 1e-5, 0.2);
        } else {
          auto& options = static_cast<torch::optim::AdamWOptions&>(run.optimizer.param_groups()[0].options());
          options.lr(3e-3).betas({0.7, 0.9}).eps(1e-5).weight_decay(0.2);
        }
      }
      train_step(run, i);
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "param groups by name pattern or by function have their own options", "[optimizer]") {
  auto config = adamw_config();
  config.optimizer.param_groups.resize(2);
  config.optimizer.param_groups[0].match = {"*.bias"};
  config.optimizer.param_groups[0].params.weight_decay = 0;
  config.optimizer.param_groups[1].match = {"layer?.weight", "layer0.*"};
  config.optimizer.param_groups[1].params.lr = 2e-3;
  config.optimizer.param_groups[1].params.betas = {0.5, 0.9};
  config.optimizer.param_groups[1].params.eps = 1e-4;
  const auto plain_groups = [](auto& run) {
    if constexpr (std::decay_t<decltype(run)>::kIsPlain) {
      const auto common = run.optimizer.hyper();
      auto biases = common, weights = common;
      biases.weight_decay = 0;
      std::tie(weights.lr, weights.beta1, weights.beta2, weights.eps) = std::tuple(2e-3, 0.5, 0.9, 1e-4);
      for (const auto& item : run.module->named_parameters())
        run.optimizer.set_hyper(item.value(), item.key().ends_with("bias") ? biases : weights);
    } else {
      CATCH_REQUIRE(run.optimizer.param_groups().size() == 3);
      CATCH_CHECK(run.optimizer.param_groups()[0].params().empty());
      CATCH_CHECK(run.optimizer.param_groups()[1].params().size() == 8);
      CATCH_CHECK(run.optimizer.param_groups()[2].params().size() == 8);
    }
    six_steps(run);
  };
  check_same_bits(config, make_deep, plain_groups);
  config.optimizer.param_groups[0].match = {"nothing"};
  config.optimizer.param_groups[1].match = {"nothing"};
  check_same_bits(config, make_deep, plain_groups,
                  [](const std::string&, const Tensor& tensor) { return tensor.dim() == 1 ? 0 : 1; });
  const GroupOf wrong = [](const std::string&, const Tensor&) { return 2; };
  CATCH_CHECK_THROWS_AS(initialize_engine(make_deep, config, wrong), ConfigError);
}

// ---- state in fewer bytes -------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "every optimizer keeps its state in every format", "[optimizer]") {
  OptimizerParams momentum;
  momentum.lr = 1e-2;
  momentum.momentum = 0.9;
  momentum.nesterov = true;
  for (const auto dtype : {StateDtype::kBf16, StateDtype::k8Bit}) {
    for (auto config : {config_of(OptimizerType::kAdam, {}), config_of(OptimizerType::kSgd, momentum)}) {
      CATCH_INFO(config.to_json());
      config.optimizer.params.state_dtype = dtype;
      check_same_bits(config, make_deep, six_steps);
      config.default_chunk_elements = 5000;  // a layer each
      check_same_bits(config, make_deep, six_steps);
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "param groups by name pattern or by function store state in formats of their own",
                       "[optimizer]") {
  auto config = adamw_config();
  config.optimizer.params.state_dtype = StateDtype::k8Bit;
  config.optimizer.param_groups.resize(2);
  config.optimizer.param_groups[0].match = {"*.bias"};
  config.optimizer.param_groups[0].params.state_dtype = StateDtype::kFp32;
  config.optimizer.param_groups[1].match = {"layer0.*"};
  config.optimizer.param_groups[1].params.state_dtype = StateDtype::kBf16;
  check_same_bits(config, make_deep, six_steps);
  const auto by_pattern = run_engine(simulated(config, kAmple), make_deep, six_steps);
  const auto by_function =
      run_engine(simulated(config, kAmple), make_deep, six_steps, [](const std::string& name, const Tensor& tensor) {
        return tensor.dim() == 1 ? 0 : name.starts_with("layer0") ? 1 : -1;
      });
  CATCH_CHECK(difference(by_pattern.outcome, by_function.outcome) == "");
}

CATCH_TEST_CASE_METHOD(OneThread, "state in fewer bytes takes fewer bytes", "[optimizer]") {
  auto config = adamw_config();
  const auto plan_with = [&](StateDtype dtype) {
    config.optimizer.params.state_dtype = dtype;
    return run_engine(simulated(config, kAmple), make_deep, six_steps).plan;
  };
  const auto whole = plan_with(StateDtype::kFp32), half = plan_with(StateDtype::kBf16),
             byte = plan_with(StateDtype::k8Bit);
  CATCH_CHECK(whole.state_saved_bytes == 0);
  CATCH_CHECK(half.state_saved_bytes == whole.model_data_bytes - half.model_data_bytes);
  CATCH_CHECK(byte.state_saved_bytes == whole.model_data_bytes - byte.model_data_bytes);
  CATCH_CHECK(half.model_data_bytes < whole.model_data_bytes * 13 / 16);
  CATCH_CHECK(byte.model_data_bytes < whole.model_data_bytes * 11 / 16);
}

CATCH_TEST_CASE_METHOD(OneThread, "bf16 state is rounded with torch's seed at the engine's start", "[optimizer]") {
  auto config = adamw_config();
  const auto losses_with = [&](std::uint64_t seed) {
    const auto make = [seed] {
      Deep deep;
      torch::manual_seed(seed);
      return deep;
    };
    return run_engine(simulated(config, kAmple), make, six_steps).outcome.losses;
  };
  CATCH_CHECK(losses_with(1) == losses_with(2));
  config.optimizer.params.state_dtype = StateDtype::kBf16;
  CATCH_CHECK(losses_with(1) == losses_with(1));
  CATCH_CHECK(losses_with(1) != losses_with(2));
}

// A loss that every parameter is part of.
struct AllParameters : torch::nn::Module {
  Tensor forward(const Tensor& x) {
    Tensor sum = x.sum();
    for (const auto& parameter : parameters())
      sum = sum + (parameter * x.select(0, 0).select(0, 0)).sin().pow(2).mean();
    return sum;
  }
};

// Two parameters in one storage, the second from `second` on.
struct SharedStorageImpl : AllParameters {
  explicit SharedStorageImpl(std::int64_t second) {
    auto whole = torch::full({4096 + second}, 0.5);
    register_parameter("first", whole.narrow(0, 0, second));
    register_parameter("second", whole.narrow(0, second, 4096));
  }
};
TORCH_MODULE(SharedStorage);

CATCH_TEST_CASE_METHOD(OneThread, "8-bit state of parameters that share a storage has its blocks or is refused",
                       "[optimizer]") {
  auto config = adamw_config();
  config.optimizer.params.state_dtype = StateDtype::k8Bit;
  check_same_bits(
      config, [] { return SharedStorage(128); }, six_steps);
  CATCH_CHECK_THROWS_WITH(initialize_engine([] { return SharedStorage(100); }, config),
                          Contains("'second' starts at element 100") && Contains("multiple of 128"));
  config.optimizer.params.state_dtype = StateDtype::kBf16;
  check_same_bits(
      config, [] { return SharedStorage(100); }, six_steps);
  config.optimizer.param_groups.resize(1);
  config.optimizer.param_groups[0].match = {"first"};
  config.optimizer.param_groups[0].params.state_dtype = StateDtype::kFp32;
  CATCH_CHECK_THROWS_WITH(initialize_engine([] { return SharedStorage(128); }, config),
                          Contains("'second' shares its storage with one of another state_dtype"));
}

// Two trained parts of a storage with a frozen one between them, each part's end short of the next one's alignment.
struct GapImpl : AllParameters {
  GapImpl() {
    auto whole = torch::full({228}, 0.5);
    register_parameter("first", whole.narrow(0, 0, 100));
    register_parameter("frozen", whole.narrow(0, 100, 28), /*requires_grad=*/false);
    register_parameter("last", whole.narrow(0, 128, 100));
  }
};
TORCH_MODULE(Gap);

CATCH_TEST_CASE_METHOD(OneThread, "what lies between two parameters of a storage is not updated with them",
                       "[optimizer]") {
  check_same_bits(
      adamw_config(), [] { return Gap(); }, six_steps);
}

// Its gradient is a view of what backward is given.
struct FlatImpl : torch::nn::Module {
  FlatImpl() : weight(register_parameter("weight", torch::full({32, 64}, 0.5))) {}
  Tensor forward() { return weight.view({2048}); }
  Tensor weight;
};
TORCH_MODULE(Flat);

CATCH_TEST_CASE_METHOD(OneThread, "a gradient that backward is given stays the caller's memory", "[optimizer]") {
  std::vector<float> buffer(2048);
  const auto make = [] { return Flat(); };
  CATCH_SECTION("from_blob") {
    check_same_bits(adamw_config(), make, [&](auto& run) {
      const auto gradient = torch::from_blob(buffer.data(), {2048});
      for (int i = 0; i < 4; ++i) {
        run.optimizer.zero_grad();
        std::fill(buffer.begin(), buffer.end(), 0.1F * static_cast<float>(i + 1));
        run.backward(run(), gradient);
        run.observe("gradient", run.module->weight.grad());
        run.optimizer.step();
      }
    });
  }
  CATCH_SECTION("a tensor that is filled anew") {
    check_same_bits(adamw_config(), make, [&](auto& run) {
      const auto gradient = torch::empty({2048});
      for (int i = 0; i < 4; ++i) {
        run.optimizer.zero_grad();
        gradient.fill_(0.1 * (i + 1));
        run.backward(run(), gradient);
        run.observe("gradient", run.module->weight.grad());
        run.optimizer.step();
        run.observe("given", gradient);
      }
    });
  }
  CATCH_SECTION("written through a pin") {
    auto [engine, optimizer] = initialize_engine(make, simulated(adamw_config(), kAmple));
    const auto gradient = torch::empty({2048});
    const auto pin = engine.pin(gradient);
    for (int i = 0; i < 3; ++i) {
      optimizer.zero_grad();
      std::fill_n(gradient.data_ptr<float>(), 2048, static_cast<float>(i));
      engine.backward(engine(), gradient);
      CATCH_CHECK(engine.gradient("weight").sum().item<double>() == 2048.0 * i);
      CATCH_CHECK(gradient.data_ptr<float>()[7] == static_cast<float>(i));
      optimizer.step();
    }
  }
}

// ---- clipping -------------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "gradient_clipping is the global norm, over all chunks", "[optimizer]") {
  auto config = adamw_config();
  for (const double clip : {1e-3, 1e3}) {
    config.gradient_clipping = clip;
    check_same_bits(config, make_deep, [&](auto& run) {
      for (int i = 0; i < kSteps; ++i) {
        run.optimizer.zero_grad();
        run.backward(loss_of(run, i));
        double norm = 0;
        for (const auto& parameter : run.module->parameters())
          norm += parameter.grad().to(torch::kDouble).pow(2).sum().template item<double>();
        run.optimizer.step();
        if constexpr (!std::decay_t<decltype(run)>::kIsPlain)
          CATCH_CHECK(run.engine.stats().grad_norm == Approx(std::sqrt(norm)).epsilon(1e-9));
      }
    });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "clip_grad_norm_ by hand works, also under gradient_clipping", "[optimizer]") {
  auto config = adamw_config();
  for (const double own_clip : {0.0, 1e-2}) {
    config.gradient_clipping = own_clip;
    check_same_bits(config, make_deep, [](auto& run) {
      for (int i = 0; i < kSteps; ++i) {
        run.optimizer.zero_grad();
        run.backward(loss_of(run, i));
        run.observe(torch::nn::utils::clip_grad_norm_(run.module->parameters(), 5e-3));
        run.optimizer.step();
      }
    });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients changed by hand are clipped by what they are, not by what they were",
                       "[optimizer]") {
  auto config = adamw_config();
  config.gradient_clipping = 1e-2;
  check_same_bits(config, make_deep, [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i));
      const torch::NoGradGuard no_grad;
      const auto parameters = run.module->parameters();
      parameters[0].grad().data().mul_(100);  // bumps no version counter
      parameters[2].grad().mul_(10);
      parameters[4].mutable_grad() = normal({64, 64}, i);  // another tensor, with whatever version it has
      parameters[6].mutable_grad() = parameters[6].grad().t().contiguous().t();
      parameters[8].mutable_grad() = torch::full({1, 1}, 0.25).expand({64, 64});
      run.optimizer.step();
      for (const int view : {6, 8}) parameters[view].mutable_grad().reset();  // torch's own zero_grad refuses views
    }
  });
}

// ---- gradients ------------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "several backward calls per step accumulate", "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      for (int micro = 0; micro < 3; ++micro) run.backward(loss_of(run, 10 * i + micro) / 3);
      run.observe("accumulated", run.module->parameters()[0].grad());
      run.optimizer.step();
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "zero_grad(false) keeps zeros, and what has no gradient is not stepped",
                       "[optimizer]") {
  for (const bool set_to_none : {true, false}) {
    check_same_bits(
        adamw_config(), [] { return Branches(); },
        [&](auto& run) {
          for (int i = 0; i < kSteps; ++i) {
            run.optimizer.zero_grad(set_to_none);
            run.backward(run(batch(i), i == 2 || i == 5).pow(2).mean());
            const Tensor rare = run.module->rarely->layers[0]->weight;
            const Tensor before = rare.detach().clone();
            run.optimizer.step();
            run.observe(torch::equal(before, rare)
                            ? 1
                            : 0);  // weight decay must not touch it either, nor does its step count advance
          }
        });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a gradient that the user replaces, or makes with create_graph, is used",
                       "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      const auto loss = loss_of(run, i);
      if (i % 2 == 0) {
        run.backward(loss);
        run.module->layers[1]->weight.mutable_grad() = normal({64, 64}, i) * 0.01;
        run.module->layers[2]->weight.mutable_grad().reset();
        if (i == 2)
          run.module->layers[3]->weight.mutable_grad() = run.module->layers[4]->weight.grad();  // one tensor for two
      } else {
        run.backward(loss, {}, true, true);
        const Tensor gradient = run.module->layers[0]->weight.grad();
        run.observe(gradient.requires_grad() ? 1 : 0);
        run.backward(gradient.pow(2).sum());
      }
      run.optimizer.step();
    }
    run.optimizer.zero_grad();
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients stay where backward made them until not all fits", "[optimizer]") {
  for (const double max_norm : {0.0, 1e-2}) {
    auto config = adamw_config();
    if (max_norm > 0) config.gradient_clipping = max_norm;
    std::vector<bool> lies_in_chunk;
    const auto loop = [&](auto& run) {
      std::vector<Tensor> others;
      for (int i = 0; i < kSteps; ++i) {
        run.optimizer.zero_grad();
        run.backward(loss_of(run, i));
        if (i == 3) run.backward(loss_of(run, 10 * i));  // in place
        if constexpr (!std::decay_t<decltype(run)>::kIsPlain) {
          lies_in_chunk.push_back(runtime::StorageSlot::of(run.module->layers[0]->weight.grad())->resident()->is_chunk);
          for (int other = 0; i == 3 && other < 6; ++other)
            others.push_back(run.engine.run([] { return torch::zeros({static_cast<std::int64_t>(8 * kMiB)}); }));
        }
        run.optimizer.step();
        if (i != 3) continue;
        const torch::NoGradGuard no_grad;
        run.module->layers[0]->weight.grad().mul_(100);  // which lies in its chunk now
        run.optimizer.step();
      }
    };
    const auto plain = run_plain(config, make_deep, loop);
    config.device = "cpu";
    config.tiers.nvme.paths = {swap_folder()};
    config.tiers.cpu.limit.bytes = resident_set_bytes() + 64 * kMiB + 64 * kMiB;  // libraries grow by the first
    CATCH_CHECK(difference(plain, run_engine(config, make_deep, loop).outcome) == "");
    CATCH_CHECK(lies_in_chunk == std::vector<bool>{true, false, false, false, true, true});  // the first is measured
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "an old gradient that is still held keeps its values", "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    std::vector<Tensor> held;
    for (int i = 0; i < kSteps; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i));
      if (i % 2 == 0) held.push_back(run.module->layers[0]->weight.grad());
      run.optimizer.step();
      for (const auto& gradient : held) run.observe("held", gradient);
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients that do not fit their parameter are refused before anything changes",
                       "[optimizer]") {
  Trained trained;
  Tensor weight = trained.run.module->layers[5]->weight;
  trained.run.optimizer.zero_grad();
  trained.run.backward(loss_of(trained.run, 1));
  const auto before = trained.fingerprint();
  weight.mutable_grad() = torch::zeros({64, 63});
  CATCH_CHECK_THROWS_WITH(trained.run.optimizer.step(), Contains("layer5.weight"));
  weight.mutable_grad() = torch::zeros({64, 64}, torch::kDouble);
  CATCH_CHECK_THROWS_WITH(trained.run.optimizer.step(), Contains("layer5.weight"));
  CATCH_CHECK(trained.fingerprint() == before);
  weight.mutable_grad().reset();
  trained.run.optimizer.step();
  CATCH_CHECK(trained.fingerprint() != before);
}

// ---- between steps --------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "in-place changes under NoGradGuard stick", "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      train_step(run, i);
      const torch::NoGradGuard no_grad;
      for (auto& parameter : run.module->parameters()) parameter.clamp_(-0.1, 0.1);
      run.module->layers[2]->weight.data().mul_(0.5);
      run.module->layers[3]->weight.copy_(normal({64, 64}, i) * 0.1);
      run.module->layers[4]->weight[0].fill_(0.01);
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "step() bumps version counters, so that a stale graph is noticed", "[optimizer]") {
  Trained trained;
  auto& run = trained.run;
  const auto version = run.module->layers[0]->weight._version();
  run.optimizer.zero_grad();
  const auto stale = loss_of(run, 1);
  run.backward(loss_of(run, 2));
  run.optimizer.step();
  CATCH_CHECK(run.module->layers[0]->weight._version() > version);
  CATCH_CHECK_THROWS_WITH(run.backward(stale), Contains("modified by an inplace operation"));
}

CATCH_TEST_CASE_METHOD(OneThread, "step() takes a closure and returns its value", "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < kSteps; ++i) {
      if constexpr (std::decay_t<decltype(run)>::kIsPlain) {
        train_step(run, i);
      } else {
        const torch::NoGradGuard no_grad;  // the closure is run with gradients all the same
        const auto loss = run.optimizer.step([&] {
          run.optimizer.zero_grad();
          auto value = loss_of(run, i);
          run.backward(value);
          return value;
        });
        run.observe(loss.template item<double>());
      }
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "step() without any backward changes nothing, at the start and later",
                       "[optimizer]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    run.optimizer.step();
    run.optimizer.zero_grad();
    run.optimizer.step();
    for (int i = 0; i < 3; ++i) {
      train_step(run, i);
      run.optimizer.zero_grad();
      run.optimizer.step();
    }
  });
}

// ---- refusals -------------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "amsgrad is refused before anything changes", "[optimizer]") {
  Trained trained;
  const auto before = trained.fingerprint();
  auto& options = static_cast<torch::optim::AdamWOptions&>(trained.run.optimizer.param_groups()[0].options());
  options.amsgrad(true);
  CATCH_CHECK_THROWS_WITH(trained.run.optimizer.step(), Contains("amsgrad"));
  CATCH_CHECK(trained.fingerprint() == before);
  options.amsgrad(false);
  trained.run.optimizer.step();
  CATCH_CHECK(trained.fingerprint() != before);
}

CATCH_TEST_CASE_METHOD(OneThread, "a sparse gradient is refused before anything changes", "[optimizer]") {
  for (const double clip : {0.0, 1.0}) {
    auto config = simulated(adamw_config(), kAmple);
    config.gradient_clipping = clip;
    auto [engine, optimizer] = initialize_engine(
        [] { return torch::nn::Embedding(torch::nn::EmbeddingOptions(100, 32).sparse(true)); }, config);
    const auto before = engine.fingerprint();
    engine.backward(engine(torch::tensor({1, 2, 3})).sum());
    CATCH_CHECK_THROWS_WITH(optimizer.step(), Contains("'weight' is sparse"));
    CATCH_CHECK(engine.fingerprint() == before);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a parameter of somebody else's is refused before anything changes", "[optimizer]") {
  Trained trained;
  const auto before = trained.fingerprint();
  auto& parameters = trained.run.optimizer.param_groups()[0].params();
  parameters.push_back(torch::zeros({8}).requires_grad_());
  CATCH_CHECK_THROWS_WITH(trained.run.optimizer.step(), Contains("not the engine's"));
  CATCH_CHECK(trained.fingerprint() == before);
  parameters.pop_back();
  trained.run.optimizer.step();
  CATCH_CHECK(trained.fingerprint() != before);
}

CATCH_TEST_CASE_METHOD(OneThread, "a frozen parameter that is given a gradient later is refused, by name",
                       "[optimizer]") {
  for (const double clip : {0.0, 1.0}) {
    auto config = simulated(adamw_config(), kAmple);
    config.gradient_clipping = clip;
    auto [engine, optimizer] = initialize_engine(
        [] {
          Deep deep;
          deep->layers[2]->weight.set_requires_grad(false);
          return deep;
        },
        config);
    EngineRun<DeepImpl> run{engine, optimizer, engine.module(), {}};
    train_step(run, 0);
    run.module->layers[2]->weight.set_requires_grad(true);
    optimizer.zero_grad();
    engine.backward(loss_of(run, 1));
    const auto before = engine.fingerprint();
    CATCH_CHECK_THROWS_WITH(optimizer.step(), Contains("layer2.weight") && Contains("frozen"));
    CATCH_CHECK(engine.fingerprint() == before);
    run.module->layers[2]->weight.set_requires_grad(false);
    run.module->layers[2]->weight.mutable_grad().reset();
    train_step(run, 2);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "torch archives of optimizer state are refused", "[optimizer]") {
  Trained trained;
  torch::serialize::OutputArchive out;
  CATCH_CHECK_THROWS_AS(trained.run.optimizer.save(out), StateError);
  torch::serialize::InputArchive in;
  CATCH_CHECK_THROWS_AS(trained.run.optimizer.load(in), StateError);
}

}  // namespace asterias::test
