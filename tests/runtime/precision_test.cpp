// Parameters in 16 bits with fp32 masters, loss scaling and autocast, against the same done by hand on plain libtorch.
#include <cmath>
#include <limits>

#include <ATen/autocast_mode.h>
#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "models/gpt.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

using Catch::Contains;
using torch::Tensor;

template <class Run>
double loss_scale_of(const Run& run) {
  if constexpr (Run::kIsPlain)
    return run.optimizer.loss_scale();
  else
    return run.engine.loss_scale();
}

template <class Run>
bool was_skipped(const Run& run) {
  if constexpr (Run::kIsPlain)
    return run.optimizer.skipped();
  else
    return run.engine.stats().skipped;
}

// A parameter of every dtype, in the module's own choice of precision.
struct MixedImpl : torch::nn::Module {
  MixedImpl() {
    const auto linear = [&](const char* name, torch::ScalarType dtype) {
      auto layer = register_module(name, torch::nn::Linear(64, 64));
      layer->to(dtype);
      return layer;
    };
    single = linear("single", torch::kFloat);
    brain = linear("brain", torch::kBFloat16);
    half = linear("half", torch::kHalf);
    frozen = linear("frozen", torch::kBFloat16);
    for (auto& parameter : frozen->parameters()) parameter.set_requires_grad(false);
    ids = register_parameter("ids", torch::arange(64), /*requires_grad=*/false);
    counts = register_buffer("counts", torch::zeros({64}));
  }
  Tensor forward(const Tensor& x) {
    auto h = torch::tanh(single(x.to(single->weight.scalar_type())));
    h = torch::tanh(brain(h.to(brain->weight.scalar_type())));
    h = torch::tanh(frozen(h.to(frozen->weight.scalar_type())));
    {
      const torch::NoGradGuard no_grad;
      counts.add_(h.sum(0)).add_(ids);
    }
    return half(h.to(half->weight.scalar_type()));
  }
  torch::nn::Linear single{nullptr}, brain{nullptr}, half{nullptr}, frozen{nullptr};
  Tensor ids, counts;
};
TORCH_MODULE(Mixed);

std::vector<torch::ScalarType> dtypes_of(const torch::nn::Module& module) {
  std::vector<torch::ScalarType> dtypes;
  for (const auto& parameter : module.parameters()) dtypes.push_back(parameter.scalar_type());
  return dtypes;
}

models::GptOptions gpt_options() {
  models::GptOptions options;
  options.vocabulary = 211;
  options.sequence = 32;
  options.layers = 2;
  options.hidden = 64;
  options.heads = 4;
  return options;
}

}  // namespace

// ---- masters --------------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "bf16 and fp16 train as plain libtorch with masters does", "[precision]") {
  for (auto config : {bf16_config(), fp16_config()}) {
    for (const double clip : {0.0, 1e-2}) {
      config.gradient_clipping = clip;
      check_same_bits(config, make_deep, [](auto& run) {
        for (int i = 0; i < 6; ++i) train_step(run, i);
      });
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "every update rule works on masters", "[precision]") {
  for (const auto type : {OptimizerType::kAdam, OptimizerType::kAdamW, OptimizerType::kSgd}) {
    auto config = bf16_config();
    config.optimizer.type = type;
    if (type == OptimizerType::kSgd) config.optimizer.params.momentum = 0.9;
    check_same_bits(config, make_deep, [](auto& run) {
      for (int i = 0; i < 3; ++i) train_step(run, i);
    });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a module in 16 bits by its own choice has masters whatever the configuration says",
                       "[precision]") {
  check_same_bits(
      adamw_config(), [] { return Mixed(); },
      [](auto& run) {
        const std::vector<torch::ScalarType> want{torch::kLong,     torch::kFloat,    torch::kFloat,
                                                  torch::kBFloat16, torch::kBFloat16, torch::kHalf,
                                                  torch::kHalf,     torch::kBFloat16, torch::kBFloat16};
        CATCH_CHECK(dtypes_of(*run.module) == want);
        for (int i = 0; i < 5; ++i) train_step(run, i);
      });
}

CATCH_TEST_CASE_METHOD(OneThread, "casting takes floating parameters only, and not those that keep_fp32 names",
                       "[precision]") {
  auto config = fp16_config();
  config.precision.keep_fp32 = {"single.*", "brain.?ias"};
  auto [engine, optimizer] = initialize_engine([] { return Mixed(); }, simulated(config, kAmple));
  const auto module = engine.module();
  CATCH_CHECK(module->ids.scalar_type() == torch::kLong);
  CATCH_CHECK(module->counts.scalar_type() == torch::kFloat);
  CATCH_CHECK(module->single->weight.scalar_type() == torch::kFloat);
  CATCH_CHECK(module->brain->weight.scalar_type() == torch::kHalf);
  CATCH_CHECK(module->brain->bias.scalar_type() == torch::kBFloat16);
  CATCH_CHECK(module->half->bias.scalar_type() == torch::kHalf);
  CATCH_CHECK(module->frozen->weight.scalar_type() == torch::kHalf);
  CATCH_CHECK(!module->frozen->weight.requires_grad());
}

CATCH_TEST_CASE_METHOD(OneThread,
                       "a pattern of keep_fp32 that matches no parameter is refused with a name that is near",
                       "[precision]") {
  auto config = bf16_config();
  const auto refusal_of = [&](std::vector<std::string> patterns) {
    config.precision.keep_fp32 = std::move(patterns);
    try {
      initialize_engine([] { return Mixed(); }, simulated(config, kAmple));
    } catch (const ConfigError& error) {
      return error.complaints();
    }
    return std::vector<std::string>{};
  };
  CATCH_CHECK(refusal_of({"*"}).empty());
  CATCH_CHECK(refusal_of({"single.*", "brain.?ias", "ids"}).empty());
  const auto refused = refusal_of({"singel.*", "single.*", "*.wieght", "brain.bia?s", "*norm*"});
  CATCH_CHECK(refused ==
              std::vector<std::string>{
                  R"(precision.keep_fp32: "singel.*" matches no parameter; the nearest name is "single")",
                  R"(precision.keep_fp32: "*.wieght" matches no parameter; the nearest name is "weight")",
                  R"(precision.keep_fp32: "brain.bia?s" matches no parameter; the nearest name is "brain.bias")",
                  R"(precision.keep_fp32: "*norm*" matches no parameter; the model's first is "ids")"});
}

CATCH_TEST_CASE_METHOD(OneThread, "parameters that share a storage go on sharing it when they are cast",
                       "[precision]") {
  struct HalvesImpl : torch::nn::Module {
    HalvesImpl() {
      whole = torch::randn({128, 64}) * 0.1;
      top = register_parameter("top", whole.narrow(0, 0, 64));
      bottom = register_parameter("bottom", whole.narrow(0, 64, 64));
      tied = register_parameter("tied", top);
    }
    Tensor forward(const Tensor& x) { return torch::linear(torch::tanh(torch::linear(x, top)), bottom) + tied.mean(); }
    Tensor whole, top, bottom, tied;
  };
  auto [engine, optimizer] =
      initialize_engine([] { return std::make_shared<HalvesImpl>(); }, simulated(bf16_config(), kAmple));
  const auto module = engine.module();
  CATCH_CHECK(module->top.is_alias_of(module->bottom));
  CATCH_CHECK(module->top.is_same(module->tied));
  CATCH_CHECK(module->bottom.storage_offset() == 64 * 64);
  const auto before = engine.parameter("bottom");
  engine.backward(engine(batch(0)).to(torch::kFloat).pow(2).mean());
  optimizer.step();
  CATCH_CHECK(!torch::equal(engine.parameter("bottom"), before));
  CATCH_CHECK(torch::equal(engine.parameter("bottom").to(torch::kBFloat16), module->bottom));
  CATCH_CHECK(torch::equal(engine.parameter("tied"), engine.parameter("top")));
}

CATCH_TEST_CASE_METHOD(OneThread,
                       "what is written into a 16-bit parameter is its master's value, the rest keeps its bits",
                       "[precision]") {
  check_same_bits(bf16_config(), make_deep, [](auto& run) {
    for (int i = 0; i < 6; ++i) {
      train_step(run, i);
      const torch::NoGradGuard no_grad;
      for (auto& parameter : run.module->parameters()) parameter.clamp_(-0.1, 0.1);
      run.module->layers[2]->weight.data().mul_(0.5);
      run.module->layers[4]->weight[0].fill_(0.01);
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "data set into a 16-bit parameter goes to its master, fp32 data with all its bits",
                       "[precision]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(bf16_config(), kAmple));
  const Tensor weight = engine.module()->layers[1]->weight;
  const auto given = normal({64, 64}, 5) * 0.1;
  weight.set_data(given.clone());
  CATCH_CHECK(same_bits(engine.parameter("layer1.weight"), given));
  CATCH_CHECK(weight.scalar_type() == torch::kBFloat16);
  CATCH_CHECK(torch::equal(weight, given.to(torch::kBFloat16)));
  weight.set_data(given.to(torch::kBFloat16));
  CATCH_CHECK(same_bits(engine.parameter("layer1.weight"), given.to(torch::kBFloat16).to(torch::kFloat)));
  weight.set_data(given.to(torch::kHalf));
  CATCH_CHECK_THROWS_WITH(engine.parameter("layer1.weight"), Contains("layer1.weight") && Contains("dtype"));
}

CATCH_TEST_CASE_METHOD(OneThread, "what is written through a pin after a forward pass goes to the master as well",
                       "[precision]") {
  for (const auto mode : {GradMode::kSeparate, GradMode::kReuse}) {
    auto config = bf16_config();
    config.optimizer.params.lr = 0;
    config.placement.grad_mode = mode;
    auto [engine, optimizer] = initialize_engine(make_deep, simulated(config, kAmple));
    const Tensor weight = engine.module()->layers[3]->weight;
    {
      const auto pin = engine.pin(weight);
      engine.backward((engine(batch(0)) - 0.1).pow(2).mean());
      std::memset(weight.mutable_data_ptr(), 0, weight.nbytes());
    }
    optimizer.step();
    CATCH_CHECK(weight.count_nonzero().item<std::int64_t>() == 0);
    CATCH_CHECK(engine.parameter("layer3.weight").count_nonzero().item<std::int64_t>() == 0);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "the fingerprint notices a master's bit that the parameter does not show",
                       "[precision]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(bf16_config(), kAmple));
  const Tensor weight = engine.module()->layers[1]->weight;
  const auto given = torch::full({64, 64}, 0.5);
  weight.set_data(given.clone());
  const auto before = engine.fingerprint();
  auto nudged = given.clone();
  nudged[63][63] = std::nextafter(0.5F, 1.0F);
  weight.set_data(nudged);
  CATCH_CHECK(engine.fingerprint() != before);
  CATCH_CHECK(torch::equal(weight, given.to(torch::kBFloat16)));
  weight.set_data(given.clone());
  CATCH_CHECK(engine.fingerprint() == before);
}

CATCH_TEST_CASE_METHOD(OneThread, "16 bits cost 16 bytes per parameter, 18 with gradients in fp32", "[precision]") {
  const auto bytes_of = [](const EngineConfig& config) {
    auto made = initialize_engine([] { return torch::nn::Linear(torch::nn::LinearOptions(1024, 1024).bias(false)); },
                                  simulated(config, kAmple));
    return made.engine.plan().model_data_bytes;
  };
  auto accumulating = bf16_config();
  accumulating.data_types.grad_accum_dtype = GradAccumDtype::kFp32;
  constexpr std::uint64_t kParameters = 1024 * 1024;
  CATCH_CHECK(bytes_of(adamw_config()) == 16 * kParameters);
  CATCH_CHECK(bytes_of(bf16_config()) == 16 * kParameters);
  CATCH_CHECK(bytes_of(accumulating) == 18 * kParameters);
}

CATCH_TEST_CASE_METHOD(OneThread, "default_chunk_size bounds elements, whatever their bytes", "[precision]") {
  for (auto config : {adamw_config(), bf16_config()}) {
    config.default_chunk_elements = 4096;
    auto made = initialize_engine([] { return torch::nn::Linear(32, 32); }, simulated(config, kAmple));
    CATCH_CHECK(made.engine.plan().chunk_bytes == (config.bf16.enabled ? 2 : 4) * 4096);
  }
}

// ---- gradients ------------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "gradients of several passes add up in their own dtype or in fp32", "[precision]") {
  for (const bool in_fp32 : {false, true}) {
    auto config = bf16_config();
    config.gradient_clipping = 1e-2;
    if (in_fp32) config.data_types.grad_accum_dtype = GradAccumDtype::kFp32;
    check_same_bits(config, make_deep, [&](auto& run) {
      for (int i = 0; i < 4; ++i) {
        run.optimizer.zero_grad(/*set_to_none=*/i % 2 == 0);
        for (int micro = 0; micro < 3; ++micro) run.backward(loss_of(run, 10 * i + micro) / 3);
        const Tensor gradient = run.module->layers[0]->weight.grad();
        CATCH_CHECK(gradient.scalar_type() == (in_fp32 ? torch::kFloat : torch::kBFloat16));
        run.observe("accumulated", gradient);
        run.optimizer.step();
      }
    });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a 16-bit gradient that the user replaces, or makes with create_graph, is used",
                       "[precision]") {
  for (auto config : {bf16_config(), fp16_config()}) {
    for (const bool in_fp32 : {false, true}) {
      config.data_types.grad_accum_dtype =
          in_fp32 ? std::optional(GradAccumDtype::kFp32) : std::optional<GradAccumDtype>();
      check_same_bits(config, make_deep, [](auto& run) {
        for (int i = 0; i < 4; ++i) {
          run.optimizer.zero_grad();
          const auto loss = loss_of(run, i);
          if (i % 2 == 0) {
            run.backward(loss);
            const auto options = run.module->layers[1]->weight.grad().options();
            run.module->layers[1]->weight.mutable_grad() = (normal({64, 64}, i) * 0.01).to(options);
            run.module->layers[2]->weight.mutable_grad().reset();
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
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "gradient() is unscaled and in fp32, .grad carries the loss scale", "[precision]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(fp16_config(), kAmple));
  engine.backward((engine(batch(0)) - 0.1).pow(2).mean());
  const Tensor scaled = engine.module()->layers[3]->weight.grad().to(torch::kFloat);
  CATCH_CHECK(engine.loss_scale() == 256);
  CATCH_CHECK(scaled.abs().max().item<float>() > 0);
  CATCH_CHECK(same_bits(engine.gradient("layer3.weight"), scaled / 256));
  optimizer.step();
  CATCH_CHECK(same_bits(engine.gradient("layer3.weight"), scaled / 256));
  CATCH_CHECK(engine.stats().loss_scale == 256);
}

CATCH_TEST_CASE_METHOD(OneThread, "in fp16 a gradient of an unscaled loss is an error and is dropped", "[precision]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(fp16_config(), kAmple));
  engine.eval();  // its buffer changes while training
  const auto before = engine.fingerprint();
  const auto loss = [&held = engine] { return (held(batch(0)) - 0.1).pow(2).mean(); };
  CATCH_CHECK_THROWS_WITH(loss().backward(), Contains("engine.backward(loss)") && Contains("layer7."));
  for (const auto& parameter : engine.module()->parameters()) CATCH_CHECK(!parameter.grad().defined());
  optimizer.step();
  CATCH_CHECK(engine.fingerprint() == before);
  engine.backward(loss());
  CATCH_CHECK_THROWS_WITH(loss().backward(), Contains("engine.backward(loss)"));
  optimizer.zero_grad();
  engine.backward(loss());
  optimizer.step();
  CATCH_CHECK(engine.fingerprint() != before);
}

CATCH_TEST_CASE_METHOD(OneThread, "gradients that outlive a change of the scale go on with the new one",
                       "[precision]") {
  auto config = fp16_config(4);
  config.fp16.loss_scale_window = 1;
  config.optimizer.params.lr = 0;
  config.optimizer.params.weight_decay = 0;
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(config, kAmple));
  const auto loss = [&held = engine] { return (held(batch(0)) - 0.1).pow(2).mean(); };
  for (int i = 0; i < 2; ++i) {  // the scale doubles from the second step on
    optimizer.zero_grad();
    engine.backward(loss());
    optimizer.step();
  }
  CATCH_REQUIRE(engine.loss_scale() == 32);
  const Tensor once = engine.gradient("layer3.weight");
  optimizer.step();  // steps again with gradients of scale 16
  CATCH_CHECK(engine.loss_scale() == 64);
  CATCH_CHECK(same_bits(engine.gradient("layer3.weight"), once));
  engine.backward(loss());
  CATCH_CHECK(engine.gradient("layer3.weight").sub(2 * once).abs().max().item<float>() <
              0.01 * once.abs().max().item<float>());
}

// ---- loss scaling ---------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "the loss scale follows DeepSpeed's step by step, and a skipped step changes nothing",
                       "[precision]") {
  struct Rule {
    int window, hysteresis;
    bool consecutive;
    double fixed;
  };
  for (const Rule rule :
       {Rule{3, 1, false, 0}, Rule{3, 2, false, 0}, Rule{2, 3, false, 0}, Rule{3, 2, true, 0}, Rule{3, 2, false, 64}}) {
    auto config = fp16_config();
    config.gradient_clipping = 1e-2;
    config.fp16.loss_scale_window = rule.window;
    config.fp16.hysteresis = rule.hysteresis;
    config.fp16.consecutive_hysteresis = rule.consecutive;
    config.fp16.loss_scale = rule.fixed;
    check_same_bits(config, make_deep, [](auto& run) {
      std::srand(11);
      std::int64_t num_skipped = 0;
      for (int i = 0; i < 30; ++i) {
        run.optimizer.zero_grad();
        const bool overflows = i % 5 == 3 || i % 7 == 1;  // and where the scale has grown too large
        run.backward(loss_of(run, i) * (overflows ? 6e4 : 1));
        const Tensor before = run.module->layers[0]->weight.detach().clone();
        run.optimizer.step();
        CATCH_CHECK((was_skipped(run) || !overflows));
        CATCH_CHECK(torch::equal(before, run.module->layers[0]->weight) == was_skipped(run));
        run.observe(loss_scale_of(run));
        num_skipped += was_skipped(run) ? 1 : 0;
        if constexpr (!std::decay_t<decltype(run)>::kIsPlain)
          CATCH_CHECK(run.engine.stats().num_skipped == num_skipped);
      }
    });
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a skipped step leaves every bit as it was", "[precision]") {
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(fp16_config(), kAmple));
  EngineRun<DeepImpl> run{engine, optimizer, engine.module(), {}};
  engine.eval();  // its buffer changes while training
  train_step(run, 0);
  const auto before = engine.fingerprint();
  optimizer.zero_grad();
  engine.backward(loss_of(run, 1) * 6e4);
  optimizer.step();
  CATCH_CHECK(engine.stats().skipped);
  CATCH_CHECK(engine.stats().step == 2);
  CATCH_CHECK(engine.stats().to_json().find(R"("skipped":true)") != std::string::npos);
  CATCH_CHECK(engine.fingerprint() == before);
}

CATCH_TEST_CASE_METHOD(OneThread, "an overflow at the smallest loss scale is an error that names a parameter",
                       "[precision]") {
  auto config = fp16_config(1);
  config.fp16.hysteresis = 1;
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(config, kAmple));
  engine.eval();  // its buffer changes while training
  const auto spoil = [&held = engine](int from) {
    held.backward((held(batch(0)) - 0.1).pow(2).mean());
    const torch::NoGradGuard no_grad;
    for (int i = from; i < 8; ++i) held.module()->layers[i]->weight.grad()[5][7] = std::nanf("");
  };
  spoil(3);
  optimizer.step();
  CATCH_CHECK(engine.loss_scale() == 1);
  const auto before = engine.fingerprint();
  for (int again = 0; again < 2; ++again) {
    optimizer.zero_grad();
    spoil(5);
    CATCH_CHECK_THROWS_AS(optimizer.step(), LossScaleError);
    CATCH_CHECK_THROWS_WITH(optimizer.step(), Contains("'layer5.weight'") && Contains("fp16.min_loss_scale"));
  }
  CATCH_CHECK(engine.fingerprint() == before);
}

CATCH_TEST_CASE_METHOD(OneThread, "bf16 and fp32 skip nothing", "[precision]") {
  auto config = bf16_config();
  config.gradient_clipping = 1;
  auto [engine, optimizer] = initialize_engine(make_deep, simulated(config, kAmple));
  engine.backward((engine(batch(0)) - 0.1).pow(2).mean());
  engine.module()->layers[3]->weight.grad().fill_(std::numeric_limits<float>::infinity());
  optimizer.step();
  CATCH_CHECK(!engine.stats().skipped);
  CATCH_CHECK(engine.stats().loss_scale == 1);
}

CATCH_TEST_CASE_METHOD(OneThread, "an exception in backward leaves fp16 as usable as before", "[precision]") {
  check_same_bits(fp16_config(), make_deep, [](auto& run) {
    for (int i = 0; i < 4; ++i) {
      run.optimizer.zero_grad();
      auto middle = run.module->layers[4]->weight;
      const auto hook = middle.register_hook([i](const Tensor& gradient) -> Tensor {
        if (i % 2 == 1) throw std::runtime_error("thrown in backward");
        return gradient;
      });
      try {
        run.backward(loss_of(run, i));
      } catch (const std::runtime_error&) {
        run.observe(-1);
        run.optimizer.zero_grad();
      }
      middle.remove_hook(hook);
      if (i % 2 == 1) run.backward(loss_of(run, 100 + i));
      run.optimizer.step();
    }
  });
}

// ---- inputs and autocast --------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "floating tensors among the arguments are cast, others and run() are left alone",
                       "[precision]") {
  struct SeesImpl : torch::nn::Module {
    SeesImpl() { weight = register_parameter("weight", torch::zeros({64, 64})); }
    Tensor forward(Tensor& x, const Tensor& ids, const std::vector<Tensor>& list, const std::optional<Tensor>& maybe,
                   std::tuple<Tensor, int> pair, const std::string& word) {
      for (const auto& tensor : {x, ids, list[0], list[1], *maybe, std::get<0>(pair)})
        seen.push_back(tensor.scalar_type());
      CATCH_CHECK(std::get<1>(pair) == 3);
      CATCH_CHECK(word == "word");
      return x;
    }
    Tensor weight;
    std::vector<torch::ScalarType> seen;
  };
  auto made = initialize_engine([] { return std::make_shared<SeesImpl>(); }, simulated(bf16_config(), kAmple));
  Tensor x = torch::zeros({4}, torch::kDouble), undefined;
  const auto ids = torch::zeros({4}, torch::kLong);
  made.engine(x, ids, std::vector<Tensor>{torch::zeros({2}), ids}, std::optional<Tensor>(torch::zeros({2})),
              std::tuple<Tensor, int>(torch::zeros({2}), 3), "word");
  using Seen = std::vector<torch::ScalarType>;
  const Seen want{torch::kBFloat16, torch::kLong, torch::kBFloat16, torch::kLong, torch::kBFloat16, torch::kBFloat16};
  CATCH_CHECK(made.engine.module()->seen == want);
  CATCH_CHECK(x.scalar_type() == torch::kDouble);
  made.engine.run([&] { CATCH_CHECK((torch::zeros({4}) + 1).scalar_type() == torch::kFloat); });
}

CATCH_TEST_CASE_METHOD(OneThread, "autocast over an fp32 model works, its cached weights included", "[precision]") {
  struct Autocast {
    Autocast() {
      at::autocast::set_autocast_enabled(at::kCPU, true);
      at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
      at::autocast::increment_nesting();
    }
    Autocast(const Autocast&) = delete;
    Autocast& operator=(const Autocast&) = delete;
    ~Autocast() {
      if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
      at::autocast::set_autocast_enabled(at::kCPU, false);
    }
  };
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < 5; ++i) {
      run.optimizer.zero_grad();
      Tensor loss;
      {
        const Autocast autocast;
        const auto once = run(batch(i));
        CATCH_CHECK(once.scalar_type() == torch::kBFloat16);
        loss = run(once).pow(2).mean();  // every weight a second time, from the cache
      }
      run.backward(loss);
      CATCH_CHECK(run.module->layers[0]->weight.grad().scalar_type() == torch::kFloat);
      run.observe(loss.template item<double>());
      run.optimizer.step();
    }
  });
}

// ---- PatrickStar ----------------------------------------------------------------------------------------------------

CATCH_TEST_CASE("PatrickStar's published configuration trains a GPT with the loop it published", "[precision]") {
  auto config = EngineConfig::from_json(R"({
    "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0, "use_hybrid_adam": true}},
    "fp16": {"enabled": true, "loss_scale": 0, "initial_scale_power": 8, "loss_scale_window": 1000, "hysteresis": 2, "min_loss_scale": 1},
    "default_chunk_size": 67108864, "release_after_init": true, "use_cpu_embedding": false })");
  const auto loop = [](auto& run) {
    for (int i = 0; i < 12; ++i) {
      const auto ids = torch::randint(211, {4, 33}, at::detail::createCPUGenerator(static_cast<std::uint64_t>(i % 2)));
      run.optimizer.zero_grad();
      const auto loss = models::next_token_loss(run(ids.narrow(1, 0, 32)), ids.narrow(1, 1, 32));
      run.backward(loss);
      run.optimizer.step();
      run.observe(loss.template item<double>());
    }
    CATCH_CHECK(run.outcome.losses.back() < 0.9 * run.outcome.losses.front());
    CATCH_CHECK(loss_scale_of(run) == 256);
  };
  config.cpu.threads = 2;
  check_same_bits(
      config, [] { return models::Gpt(gpt_options()); }, loop);
}

}  // namespace asterias::test
