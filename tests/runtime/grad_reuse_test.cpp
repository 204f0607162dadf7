// Gradients in their parameters' places (`placement.grad_mode` reuse): nobody sees a difference but in the bytes, and
// what would need both at once is refused.
#include <limits>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "case_training.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

using Catch::Contains;
using torch::Tensor;

EngineConfig reusing(EngineConfig config) {
  config.placement.grad_mode = GradMode::kReuse;
  return config;
}

// Steps with `between` done after backward, on all sides.
template <class Between>
auto steps_with(const Between& between) {
  return [between](auto& run) {
    for (int i = 0; i < 4; ++i) {
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

Tensor bits_of(const Tensor& tensor) { return tensor.detach().view(torch::kShort).clone(); }

std::vector<Tensor> bits_of(const torch::nn::Module& module) {
  std::vector<Tensor> bits;
  for (const auto& parameter : module.parameters()) bits.push_back(bits_of(parameter));
  return bits;
}

bool equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!torch::equal(a[i], b[i])) return false;
  return true;
}

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "gradients in their parameters' places train with the same bits", "[reuse]") {
  for (auto config : {reusing(bf16_config()), reusing(fp16_config())}) {
    for (const double clip : {0.0, 1e-2}) {
      config.gradient_clipping = clip;
      check_same_bits(config, make_deep, [](auto& run) {
        for (int i = 0; i < 6; ++i) train_step(run, i);
      });
    }
  }
  auto sgd = reusing(bf16_config());
  sgd.optimizer.type = OptimizerType::kSgd;
  check_same_bits(sgd, make_deep, [](auto& run) {
    for (int i = 0; i < 3; ++i) train_step(run, i);
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "a parameter costs 14 bytes, and the plan says what that saves", "[reuse]") {
  const auto plan_of = [](const EngineConfig& config) {
    auto made = initialize_engine([] { return torch::nn::Linear(torch::nn::LinearOptions(1024, 1024).bias(false)); },
                                  simulated(config, kAmple));
    made.engine.backward(made.engine(torch::ones({2, 1024})).to(torch::kFloat).mean());
    const auto plan = made.engine.plan();
    made.optimizer.step();
    CATCH_CHECK(made.engine.plan().model_data_bytes == plan.model_data_bytes);
    return plan;
  };
  constexpr std::uint64_t kParameters = 1024 * 1024;
  const auto separate = bf16_config();
  const auto with = plan_of(reusing(bf16_config())), without = plan_of(separate);
  CATCH_CHECK(with.model_data_bytes == 14 * kParameters);
  CATCH_CHECK(with.reused_bytes == 2 * kParameters);
  CATCH_CHECK(without.model_data_bytes == 16 * kParameters);
  CATCH_CHECK(without.reused_bytes == 0);
  CATCH_CHECK(with.content_by_kind[static_cast<std::size_t>(ContentKind::kGrad)] == 0);
  CATCH_CHECK(with.content_by_kind[static_cast<std::size_t>(ContentKind::kParam)] == 2 * kParameters);
}

// ---- between backward and step --------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "gradients can be read and clipped by hand before the step, which uses them up",
                       "[reuse]") {
  for (const auto& config : {reusing(bf16_config()), reusing(fp16_config())})
    check_same_bits(config, make_deep, steps_with([](auto& run, int) {
                      torch::nn::utils::clip_grad_norm_(run.module->parameters(), 0.01);
                      run.observe("clipped", run.module->layers[2]->weight.grad());
                    }));
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(reusing(fp16_config()), kAmple));
  engine.backward((engine(batch(0)) - 0.1).pow(2).mean());
  const Tensor scaled = engine.module()->layers[3]->weight.grad().to(torch::kFloat);
  CATCH_CHECK(scaled.abs().max().item<float>() > 0);
  CATCH_CHECK(same_bits(engine.gradient("layer3.weight"), scaled / 256));
  optimizer.step();
  CATCH_CHECK(!engine.module()->layers[3]->weight.grad().defined());
  CATCH_CHECK_THROWS_WITH(engine.gradient("layer3.weight"), Contains("step()") && Contains("grad_mode"));
}

CATCH_TEST_CASE_METHOD(OneThread, "parameters that are read or written after backward are there, gradients as well",
                       "[reuse]") {
  for (const auto& config : {reusing(bf16_config()), reusing(fp16_config())})
    check_same_bits(config, make_deep, steps_with([](auto& run, int i) {
                      auto& layers = run.module->layers;
                      run.observe("read", layers[1]->weight);
                      layers[2]->weight.mul_(0.5);
                      layers[3]->weight.grad().add_(layers[3]->weight, 0.01);  // decay by hand, the gradient first
                      layers[4]->weight.data().sub_(layers[4]->weight.grad(), 0.001);
                      for (const auto& layer : layers)
                        run.observe("gradient " + std::to_string(i), layer->weight.grad());
                    }));
}

// Data that is set becomes the master with all its bits, which the plain side's masters by hand do not know.
CATCH_TEST_CASE_METHOD(OneThread, "parameters may be given other data after backward", "[reuse]") {
  const auto loop = steps_with([](auto& run, int i) {
    run.module->layers[5]->weight.set_data(normal({64, 64}, i) * 0.1);
    run.observe("gradient", run.module->layers[5]->weight.grad());
  });
  auto config = simulated(reusing(bf16_config()), kAmple);
  const auto reused = run_engine(config, make_deep, loop);
  config.placement.grad_mode = GradMode::kSeparate;
  CATCH_CHECK(difference(run_engine(config, make_deep, loop).outcome, reused.outcome) == "");
}

CATCH_TEST_CASE_METHOD(OneThread, "an evaluation between backward and step sees the parameters", "[reuse]") {
  check_same_bits(reusing(bf16_config()), make_deep,
                  steps_with([](auto& run, int i) { run.observe(run(batch(100 + i)).sum().template item<double>()); }));
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients that the user replaces, drops or holds", "[reuse]") {
  check_same_bits(reusing(bf16_config()), make_deep, [](auto& run) {
    std::vector<Tensor> held;
    for (int i = 0; i < 5; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i));
      auto& layers = run.module->layers;
      const auto options = layers[1]->weight.grad().options();
      layers[1]->weight.mutable_grad() = (normal({64, 64}, i) * 0.01).to(options);
      layers[2]->weight.mutable_grad().reset();
      held.push_back(layers[3]->weight.grad());
      held.push_back(layers[4]->weight.grad().narrow(0, 8, 8));
      held.push_back(layers[5]->weight.grad());
      layers[5]->weight.mutable_grad() = layers[5]->weight.grad() * 2;
      held.push_back(layers[6]->weight.grad());
      if (i % 2 == 1) run.optimizer.zero_grad();
      run.optimizer.step();
    }
    for (const auto& gradient : held) run.observe("held", gradient);
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "a pinned parameter stays where its pointer says", "[reuse]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(reusing(bf16_config()), kAmple));
  const Tensor weight = engine.module()->layers[4]->weight;
  const Tensor before = bits_of(weight);
  {
    const auto pin = engine.pin(weight);
    const auto* bytes = weight.const_data_ptr();
    engine.backward((engine(batch(0)) - 0.1).pow(2).mean());
    CATCH_CHECK(std::memcmp(bytes, before.const_data_ptr(), weight.nbytes()) == 0);
  }
  {
    const auto pin = engine.pin(engine.module()->layers[7]->weight);  // its place is lent now
    CATCH_CHECK(engine.module()->layers[7]->weight.const_data_ptr() != nullptr);
  }
  optimizer.step();
  CATCH_CHECK(!torch::equal(bits_of(weight), before));
}

// ---- divergence from what backward needs ----------------------------------------------------------------------------

// The first half of backward makes the gradient of `tied` final; the second half reads `tied` once more, detached.
struct DetachedImpl : torch::nn::Module {
  DetachedImpl() {
    in = register_module("in", torch::nn::Linear(64, 64));
    tied = register_module("tied", torch::nn::Linear(64, 64));
  }
  Tensor forward(const Tensor& x) {
    return tied(torch::tanh(torch::linear(torch::tanh(in(x)), tied->weight.detach())));
  }
  torch::nn::Linear in{nullptr}, tied{nullptr};
};
TORCH_MODULE(Detached);

// One weight in two recomputed parts: its gradient becomes final twice.
struct TwiceImpl : torch::nn::Module {
  TwiceImpl() { layer = register_module("layer", torch::nn::Linear(64, 64)); }
  Tensor forward(const Tensor& x) {
    const auto part = [this](const Tensor& in) { return torch::tanh(layer(in)); };
    return checkpoint(part, checkpoint(part, x));
  }
  torch::nn::Linear layer{nullptr};
};
TORCH_MODULE(Twice);

CATCH_TEST_CASE_METHOD(OneThread, "a parameter that backward reads again after its gradient comes back", "[reuse]") {
  const auto loop = [](auto& run) {
    for (int i = 0; i < 4; ++i) train_step(run, i);
  };
  for (const auto& config : {reusing(bf16_config()), reusing(fp16_config())}) {
    check_same_bits(
        config, [] { return Detached(); }, loop);
    check_same_bits(
        config, [] { return Twice(); }, loop);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a hook of backward that reads parameters sees them", "[reuse]") {
  check_same_bits(reusing(bf16_config()), make_deep, [](auto& run) {
    std::vector<double> seen;
    run.module->layers[0]->weight.register_hook([&](const Tensor& gradient) {
      const torch::NoGradGuard no_grad;
      for (const auto& layer : run.module->layers) seen.push_back(layer->weight.sum().template item<double>());
      return gradient * 0.5;
    });
    for (int i = 0; i < 3; ++i) train_step(run, i);
    for (const double value : seen) run.observe(value);
  });
}

// ---- steps that do not come -----------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "an exception in backward or before the step leaves the parameters as they were",
                       "[reuse]") {
  for (const auto& config : {reusing(bf16_config()), reusing(fp16_config())})
    check_same_bits(config, make_deep, [](auto& run) {
      for (int i = 0; i < 6; ++i) {
        run.optimizer.zero_grad();
        auto middle = run.module->layers[4]->weight;
        const auto hook = middle.register_hook([i](const Tensor& gradient) -> Tensor {
          if (i % 3 == 1) throw std::runtime_error("thrown in backward");
          return gradient;
        });
        try {
          run.backward(loss_of(run, i));
          if (i % 3 == 2) throw std::runtime_error("thrown before the step");
        } catch (const std::runtime_error&) {
          if (i < 3) run.observe("after the exception", run.module->layers[6]->weight);
          run.optimizer.zero_grad();
        }
        middle.remove_hook(hook);
        if (i % 3 == 1) run.backward(loss_of(run, 100 + i));
        run.optimizer.step();
      }
    });
}

CATCH_TEST_CASE_METHOD(OneThread, "a skipped step changes no parameter and drops the gradients", "[reuse]") {
  auto config = reusing(fp16_config(15));
  config.gradient_clipping = 1e-2;
  config.fp16.hysteresis = 1;
  check_same_bits(config, make_deep, [](auto& run) {
    for (int i = 0; i < 6; ++i) {
      run.optimizer.zero_grad();
      const auto loss = loss_of(run, i);
      run.backward(i % 2 == 1 ? loss * 1e6 : loss);
      run.optimizer.step();
      if constexpr (!std::decay_t<decltype(run)>::kIsPlain) {
        CATCH_CHECK(run.engine.stats().skipped == (i % 2 == 1));
        CATCH_CHECK(!run.module->layers[0]->weight.grad().defined());
      }
      run.observe("after a step", run.module->layers[i]->weight);
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "parameters outlive an engine that ends between backward and step", "[reuse]") {
  std::shared_ptr<DeepImpl> module;
  std::vector<Tensor> before;
  Tensor gradient, copy;
  {
    auto [engine, optimizer] = initialize_engine(make_deep, simulated(reusing(bf16_config()), kAmple));
    module = engine.module();
    before = bits_of(*module);
    engine.backward((engine(batch(0)) - 0.1).pow(2).mean());
    gradient = module->layers[3]->weight.grad();
    copy = gradient.clone();
  }
  CATCH_CHECK(equal(bits_of(*module), before));
  CATCH_CHECK(torch::equal(gradient, copy));
}

CATCH_TEST_CASE_METHOD(OneThread, "places are given back on a tight budget, too", "[reuse]") {
  auto config = reusing(fp16_config(15));
  config.fp16.hysteresis = 1;
  const auto loop = [](auto& run) {
    for (int i = 0; i < 6; ++i) {
      run.optimizer.zero_grad();
      run.backward(loss_of(run, i) * (i % 3 == 2 ? 1e6 : 1.0));
      run.optimizer.step();
    }
  };
  const auto plain = run_plain(config, make_deep, loop);
  const auto unlimited = run_engine(simulated(config, kAmple), make_deep, loop);
  const auto need = tier_plan(unlimited.plan, Tier::kGpu).working_set_bytes;
  CATCH_CHECK(difference(plain, run_engine(simulated(config, need), make_deep, loop).outcome) == "");
}

// ---- who has a place of its own -------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "fp32 parameters and shared storages keep gradient lists of their own", "[reuse]") {
  struct SharingImpl : torch::nn::Module {
    SharingImpl() {
      const auto whole = torch::randn({128, 64}) * 0.1;
      top = register_parameter("top", whole.narrow(0, 0, 64));
      bottom = register_parameter("bottom", whole.narrow(0, 64, 64));
      kept = register_module("kept", torch::nn::Linear(64, 64));
    }
    Tensor forward(const Tensor& x) {
      const auto h = torch::linear(torch::tanh(torch::linear(x, top)), bottom);
      return kept(h.to(torch::kFloat));
    }
    Tensor top, bottom;
    torch::nn::Linear kept{nullptr};
  };
  struct BothImpl : torch::nn::Module {
    BothImpl() {
      sharing = register_module("sharing", std::make_shared<SharingImpl>());
      own = register_module("own", torch::nn::Linear(torch::nn::LinearOptions(64, 4096)));
    }
    Tensor forward(const Tensor& x) { return own(sharing->forward(x).to(own->weight.scalar_type())); }
    std::shared_ptr<SharingImpl> sharing;
    torch::nn::Linear own{nullptr};
  };
  auto config = reusing(bf16_config());
  config.precision.keep_fp32 = {"*kept*"};
  config.default_chunk_elements = 128 * 64;
  auto made = initialize_engine([] { return std::make_shared<BothImpl>(); }, simulated(config, kAmple));
  const auto plan = made.engine.plan();
  CATCH_CHECK(plan.reused_bytes >= 2 * 64 * 4096);
  CATCH_CHECK(plan.reused_bytes < 2 * (64 * 4096 + 2 * 64 * 64));
  const auto before = made.engine.parameter("sharing.bottom");
  made.engine.backward(made.engine(batch(0)).to(torch::kFloat).pow(2).mean());
  made.optimizer.step();
  CATCH_CHECK(!torch::equal(made.engine.parameter("sharing.bottom"), before));
  CATCH_CHECK(!made.engine.module()->sharing->kept->weight.grad().defined());
}

CATCH_TEST_CASE_METHOD(OneThread, "engines of one process choose for themselves", "[reuse]") {
  const auto separate = bf16_config();
  auto first = initialize_engine(make_deep, simulated(reusing(bf16_config()), kAmple));
  auto second = initialize_engine(make_deep, simulated(separate, kAmple));
  CATCH_CHECK(first.engine.plan().reused_bytes > 0);
  CATCH_CHECK(second.engine.plan().reused_bytes == 0);
  auto loss = (first.engine(batch(0)) - second.engine(batch(1))).pow(2).mean();
  first.engine.backward(loss);
  first.optimizer.step();
  second.optimizer.step();
  CATCH_CHECK(!first.engine.module()->layers[0]->weight.grad().defined());
  CATCH_CHECK(second.engine.module()->layers[0]->weight.grad().defined());
}

// ---- refusals -------------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "reuse is refused where there is no master, and where gradients accumulate",
                       "[reuse]") {
  auto config = reusing(bf16_config());
  config.bf16.enabled = false;
  CATCH_CHECK_THROWS_WITH(initialize_engine(make_deep, simulated(config, kAmple)),
                          Contains("placement.grad_mode") && Contains("master") && Contains("separate"));
  config = reusing(bf16_config());
  config.data_types.grad_accum_dtype = GradAccumDtype::kFp32;
  CATCH_CHECK_THROWS_WITH(config.validate(), Contains("placement.grad_mode") && Contains("grad_accum_dtype"));
  config = reusing(bf16_config());
  config.gradient_accumulation_steps = 3;
  CATCH_CHECK_THROWS_WITH(config.validate(), Contains("placement.grad_mode") && Contains("3 passes"));
  config.gradient_accumulation_steps = 0;
  config.train_batch_size = 8;
  config.train_micro_batch_size_per_gpu = 4;
  CATCH_CHECK_THROWS_WITH(config.validate(), Contains("placement.grad_mode") && Contains("2 passes"));
  config.train_micro_batch_size_per_gpu = 8;
  config.validate();
}

CATCH_TEST_CASE_METHOD(OneThread, "a second backward and a retained graph are refused, and nothing is lost",
                       "[reuse]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(reusing(bf16_config()), kAmple));
  const auto loss = [&held = engine](int i) { return (held(batch(i)) - 0.1).pow(2).mean(); };
  CATCH_CHECK_THROWS_WITH(engine.backward(loss(0), {}, true), Contains("grad_mode") && Contains("retain_graph"));
  CATCH_CHECK_THROWS_WITH(engine.backward(loss(0), {}, true, true), Contains("grad_mode") && Contains("create_graph"));
  CATCH_CHECK(!engine.module()->layers[0]->weight.grad().defined());
  const auto before = bits_of(*engine.module());
  engine.backward(loss(1));
  const auto gradient = engine.gradient("layer2.weight");
  CATCH_CHECK_THROWS_WITH(engine.backward(loss(2)), Contains("grad_mode") && Contains("call step()"));
  CATCH_CHECK(same_bits(engine.gradient("layer2.weight"), gradient));
  CATCH_CHECK(equal(bits_of(*engine.module()), before));
  // Zeroed gradients are gradients still: the message says which zero_grad() helps.
  optimizer.zero_grad(/*set_to_none=*/false);
  CATCH_CHECK_THROWS_WITH(engine.backward(loss(2)), Contains("zero_grad(/*set_to_none=*/true)"));
  optimizer.zero_grad(/*set_to_none=*/true);
  engine.backward(loss(2));
  optimizer.step();
  engine.backward(loss(3));
  optimizer.step();
  CATCH_CHECK(!equal(bits_of(*engine.module()), before));
}

}  // namespace asterias::test
