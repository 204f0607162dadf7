// What a user does with an engine besides training: making it in every way, looking into it, pinning, threads,
// evaluating, outliving it.
#include <cstring>
#include <filesystem>
#include <numeric>
#include <thread>

#include "side_by_side.hpp"

namespace asterias::test {
namespace {

using Catch::Matchers::Contains;
using torch::Tensor;

// Several inputs of several kinds, a struct as output.
struct ManyImpl : torch::nn::Module {
  struct Result {
    Tensor sum;
    std::vector<Tensor> parts;
    std::string note;
  };
  ManyImpl() : first(register_module("first", Deep(4))), second(register_module("second", Deep(4))) {}
  Result forward(const Tensor& x, const std::vector<Tensor>& more, double factor, bool flag, const std::string& note) {
    Result result{first(x) * factor, {}, note + "!"};
    for (const auto& y : more) result.parts.push_back(flag ? second(y) : y);
    for (const auto& part : result.parts) result.sum = result.sum + part;
    return result;
  }
  Deep first, second;
};
TORCH_MODULE(Many);

// One parameter under two names, one that is never used, a buffer.
struct TiedImpl : torch::nn::Module {
  TiedImpl() {
    weight = register_parameter("weight", torch::randn({64, 64}) * 0.1);
    register_parameter("alias", weight);
    register_parameter("unused", torch::randn({64, 64}));
    count = register_buffer("count", torch::zeros({64, 32}));
  }
  Tensor forward(const Tensor& x) { return torch::tanh(x.matmul(weight)).matmul(weight.t()); }
  Tensor weight, count;
};
TORCH_MODULE(Tied);

// A module whose forward may be called without arguments: its holder is a function, too.
struct ConstantImpl : torch::nn::Module {
  ConstantImpl() { value = register_parameter("value", torch::ones({64, 64})); }
  Tensor forward() { return value * 2; }
  Tensor value;
};
TORCH_MODULE(Constant);

EngineConfig ample() { return simulated(adamw_config(), kAmple); }

constexpr auto three_steps = [](auto& run) {
  for (int i = 0; i < 3; ++i) train_step(run, i);
};

// The compute tier at its tightest for Deep.
EngineConfig tight() {
  static const std::uint64_t limit = find_tight_bytes(adamw_config(), make_deep, three_steps);
  return simulated(adamw_config(), limit);
}

// Leaves a little for tensors below 4 KiB, which the runtime does not move.
EngineConfig with_room(EngineConfig config) {
  *config.tiers.gpu.limit.bytes += 64 * 1024;
  return config;
}

// Evicts whatever can be evicted, so that all parameters are absent after the next operator.
EngineConfig always_absent() {
  auto config = ample();
  config.debug.evict_always = true;
  return config;
}

template <class M>
void train(Engine<M>& engine, Optimizer& optimizer, int steps = 3) {
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    engine.backward((engine(batch(i)) - 0.1).pow(2).mean());
    optimizer.step();
  }
}

Deep trained_plainly(int steps = 3) {
  torch::manual_seed(3);
  Deep deep;
  PlainOptimizer optimizer(trainable(*deep), hybrid_adam::Algorithm::kAdamW,
                           hyper_of(OptimizerType::kAdamW, adamw_config().optimizer.params), 0);
  for (int i = 0; i < steps; ++i) {
    optimizer.zero_grad();
    (deep(batch(i)) - 0.1).pow(2).mean().backward();
    optimizer.step();
  }
  return deep;
}

}  // namespace

// ---- making one -----------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "an engine takes a function of a holder, of a pointer, or a ready module",
                       "[engine]") {
  const auto want = fingerprint(*trained_plainly());
  const auto check = [&](auto&& model) {
    auto [engine, optimizer] = initialize_engine(model, tight());
    train(engine, optimizer);
    CATCH_CHECK(engine.fingerprint() == want);
  };
  torch::manual_seed(3);
  Deep holder, other, third;  // made before any engine
  torch::manual_seed(3);
  const Deep same;
  check(same);
  torch::manual_seed(3);
  check([] { return Deep(); });
  torch::manual_seed(3);
  check([] { return std::make_shared<DeepImpl>(); });
  torch::manual_seed(3);
  check(std::make_shared<DeepImpl>());
  check(holder);
  CATCH_CHECK(fingerprint(*holder) == want);  // it was trained in place
}

CATCH_TEST_CASE_METHOD(OneThread, "a ready module whose forward needs no arguments is a module, not a function",
                       "[engine]") {
  auto [engine, optimizer] = initialize_engine(Constant(), ample());
  engine.backward(engine().sum());
  optimizer.step();
  CATCH_CHECK(engine.parameter("value")[0][0].item<float>() < 1);
}

CATCH_TEST_CASE_METHOD(OneThread, "forward takes any arguments and returns anything, run runs the rest", "[engine]") {
  check_same_bits(
      adamw_config(), [] { return Many(); },
      [](auto& run) {
        for (int i = 0; i < 4; ++i) {
          run.optimizer.zero_grad();
          const std::vector<Tensor> more{batch(50 + i), batch(60 + i)};
          const auto result = run(batch(i), more, 0.5, i % 2 == 0, std::string("note"));
          CATCH_CHECK(result.note == "note!");
          run.backward(result.sum.pow(2).mean() + result.parts[1].abs().sum());
          run.optimizer.step();
        }
        run.optimizer.zero_grad();
        const auto through_run = [&] { return run.module->second(batch(9)).sum(); };
        if constexpr (std::decay_t<decltype(run)>::kIsPlain)
          run.backward(through_run());
        else
          run.backward(run.engine.run(through_run));
        run.optimizer.step();
      });
}

CATCH_TEST_CASE_METHOD(OneThread, "what goes wrong while an engine is made leaves nothing behind", "[engine]") {
  const auto want = fingerprint(*trained_plainly());
  struct Mine : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  const auto half_made = []() -> Deep {
    Deep deep;
    deep(batch(1)).sum().backward();
    throw Mine("in the middle");
  };
  CATCH_CHECK_THROWS_AS(initialize_engine(half_made, tight()), Mine);
  CATCH_CHECK_THROWS_AS(initialize_engine([] { return std::shared_ptr<DeepImpl>(); }, tight()), StateError);
  CATCH_CHECK_THROWS_AS(initialize_engine([] { return torch::nn::Linear(torch::nn::LinearOptions(8, 8)); },
                                          EngineConfig::from_json(R"({"device": "simulated"})")),
                        ConfigError);
  auto nowhere = tight();
  nowhere.tiers.nvme.paths = {"/nonexistent/folder"};
  CATCH_CHECK_THROWS_AS(initialize_engine(make_deep, nowhere), Error);
  auto cuda = adamw_config();
  cuda.device = "cuda:4711";
  CATCH_CHECK_THROWS_AS(initialize_engine(make_deep, cuda), CudaError);
  const auto doubles = [] {
    Deep deep;
    deep->layers[0]->to(torch::kDouble);
    deep->layers[1]->to(torch::kDouble);
    return deep;
  };
  try {
    initialize_engine(doubles, tight());
    CATCH_FAIL("no exception");
  } catch (const ConfigError& error) {
    CATCH_CHECK(error.complaints().size() == 4);
  }
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, tight());
  train(engine, optimizer);
  CATCH_CHECK(engine.fingerprint() == want);
}

CATCH_TEST_CASE_METHOD(OneThread, "one engine after another in the same process, each with tiers of its own",
                       "[engine]") {
  const auto want = fingerprint(*trained_plainly());
  for (const auto& config : {tight(), adamw_config(), always_absent(), tight()}) {
    torch::manual_seed(3);
    auto [engine, optimizer] = initialize_engine(make_deep, config);
    train(engine, optimizer);
    CATCH_CHECK(engine.fingerprint() == want);
  }
}

// ---- looking into it ------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "parameter, gradient and buffer copy out, by any name", "[engine]") {
  auto config = tight();
  config.gradient_clipping = 1e-4;
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine([] { return Tied(); }, config);
  torch::manual_seed(3);
  Tied plain;
  CATCH_CHECK(same_bits(engine.parameter("weight"), plain->weight));
  CATCH_CHECK(same_bits(engine.parameter("alias"), plain->weight));
  CATCH_CHECK(same_bits(engine.buffer("count"), plain->count));
  CATCH_CHECK_THROWS_WITH(engine.gradient("weight"), Contains("no gradient") && Contains("weight"));
  CATCH_CHECK_THROWS_WITH(engine.parameter("waight"), Contains("no parameter named 'waight'"));
  CATCH_CHECK_THROWS_WITH(engine.gradient("count"), Contains("no parameter named 'count'"));
  CATCH_CHECK_THROWS_WITH(engine.buffer("weight"), Contains("no buffer named 'weight'"));
  for (int micro = 0; micro < 2; ++micro) {
    engine.backward(engine(batch(micro)).sum());
    plain(batch(micro)).sum().backward();
    CATCH_CHECK(same_bits(engine.gradient("weight"), plain->weight.grad()));
  }
  optimizer.step();
  CATCH_CHECK(same_bits(engine.gradient("alias"), plain->weight.grad()));  // before clipping, after accumulation
  CATCH_CHECK(engine.stats().grad_norm > 1e-4);
  CATCH_CHECK_THROWS_AS(engine.gradient("unused"), StateError);
  const auto copy = engine.parameter("weight");
  const auto before = copy.clone();
  train(engine, optimizer, 1);
  CATCH_CHECK(torch::equal(copy, before));  // a copy, not a view
  optimizer.zero_grad();
  CATCH_CHECK_THROWS_AS(engine.gradient("weight"), StateError);
}

CATCH_TEST_CASE_METHOD(OneThread, "module() gives the module back, usable as torch's own", "[engine]") {
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, tight());
  const std::shared_ptr<DeepImpl> module = engine.module();
  CATCH_CHECK(module->layers.size() == 8);
  engine.eval();
  CATCH_CHECK_FALSE(module->is_training());
  engine.train();
  CATCH_CHECK(module->is_training());
  torch::manual_seed(3);
  CATCH_CHECK(torch::equal(module->forward(batch(1)), Deep()(batch(1))));
}

CATCH_TEST_CASE_METHOD(OneThread, "fingerprint equals a plain module's and sees every bit, name and buffer",
                       "[engine]") {
  const auto untrained = fingerprint(*trained_plainly(0));
  const auto want = fingerprint(*trained_plainly());
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, tight());
  CATCH_CHECK(engine.fingerprint() == untrained);
  CATCH_CHECK(fingerprint(*engine.module()) == untrained);
  train(engine, optimizer);
  CATCH_CHECK(engine.fingerprint() == want);
  const auto flip = [&](const Tensor& tensor) {
    const auto pin = engine.pin(tensor);
    reinterpret_cast<std::uint32_t*>(tensor.data_ptr<float>())[tensor.numel() - 1] ^= 1;
  };
  for (const auto& tensor :
       {engine.module()->layers[7]->weight, engine.module()->layers[0]->bias, engine.module()->mean}) {
    flip(tensor);
    CATCH_CHECK(engine.fingerprint() != want);
    flip(tensor);
    CATCH_CHECK(engine.fingerprint() == want);
  }
  struct Named : torch::nn::Module {
    explicit Named(const std::string& name) { register_parameter(name, torch::ones({64, 64})); }
  };
  CATCH_CHECK(fingerprint(Named("a")) == fingerprint(Named("a")));
  CATCH_CHECK(fingerprint(Named("a")) != fingerprint(Named("b")));
}

CATCH_TEST_CASE_METHOD(OneThread, "stats() tell what the last step did", "[engine]") {
  const auto config = tight();
  auto [engine, optimizer] = initialize_engine(make_deep, config);
  CATCH_CHECK(engine.stats().step == 0);
  for (int i = 0; i < 4; ++i) {
    optimizer.zero_grad();
    const auto loss = (engine(batch(i)) - 0.1).pow(2).mean();
    engine.backward(loss);
    optimizer.step();
    const StepStats& stats = engine.stats();
    const auto& gpu = stats.tiers[static_cast<int>(Tier::kGpu)];
    CATCH_CHECK(stats.step == i + 1);
    CATCH_CHECK(stats.is_warm_up == (i == 0));
    CATCH_CHECK(stats.loss == loss.item<double>());
    CATCH_CHECK(stats.lr == 1e-2);
    CATCH_CHECK(std::isnan(stats.grad_norm));
    CATCH_CHECK(stats.num_passes == 1);
    CATCH_CHECK(stats.num_operators > 50);
    CATCH_CHECK(stats.h2d_bytes > 0);
    CATCH_CHECK(stats.d2h_bytes > 0);
    CATCH_CHECK(stats.evictions_dirty + stats.evictions_clean > 0);
    CATCH_CHECK(stats.fetches > 0);
    CATCH_CHECK(stats.forward_ms > 0);
    CATCH_CHECK(stats.backward_ms > 0);
    CATCH_CHECK(stats.update_ms > 0);
    for (const auto& tier : stats.tiers) CATCH_CHECK(tier.present);
    CATCH_CHECK(gpu.limit_bytes == *config.tiers.gpu.limit.bytes);
    CATCH_CHECK(gpu.peak_bytes <= gpu.limit_bytes);
    CATCH_CHECK(gpu.peak_bytes > gpu.limit_bytes / 2);
    CATCH_CHECK(gpu.used_bytes <= gpu.peak_bytes);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "plan() foretells the need of every moment and the smallest budgets", "[engine]") {
  auto [engine, optimizer] = initialize_engine(make_deep, tight());
  CATCH_CHECK(engine.plan().need_bytes_by_moment.empty());
  train(engine, optimizer);
  const Plan plan = engine.plan();
  CATCH_CHECK(plan.num_parameters == 8 * (64 * 64 + 64));
  CATCH_CHECK(plan.model_data_bytes >= 16 * plan.num_parameters);
  CATCH_CHECK(plan.num_chunks * plan.chunk_bytes >= 4 * plan.num_parameters);
  CATCH_CHECK(plan.need_bytes_by_moment.size() == static_cast<std::size_t>(engine.stats().num_operators) + 1);
  const auto most = *std::max_element(plan.need_bytes_by_moment.begin(), plan.need_bytes_by_moment.end());
  CATCH_CHECK(most > 0);
  CATCH_CHECK(most <= tier_plan(plan, Tier::kGpu).working_set_bytes);
  for (const auto& tier : plan.tiers) {
    CATCH_CHECK((tier.smallest_bytes % (1 << 20) == 0 || tier.smallest_bytes == tier.limit_bytes));
    if (tier.tier != Tier::kNvme) CATCH_CHECK_FALSE(tier.working_set_at.empty());
  }
  CATCH_CHECK(tier_plan(plan, Tier::kGpu).smallest_bytes >= tier_plan(plan, Tier::kGpu).working_set_bytes);
}

CATCH_TEST_CASE_METHOD(OneThread, "with accumulation only the first step warms up", "[engine]") {
  auto [engine, optimizer] = initialize_engine(make_deep, tight());
  for (int step = 0; step < 3; ++step) {
    optimizer.zero_grad();
    for (int pass = 0; pass < 3; ++pass) engine.backward(engine(batch(pass)).pow(2).mean());
    optimizer.step();
    CATCH_CHECK(engine.stats().is_warm_up == (step == 0));
  }
}

// ---- pins and threads -----------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "pin() gives the pointer, without it an absent tensor names itself and what to do",
                       "[engine]") {
  torch::manual_seed(3);
  const Deep plain;
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, always_absent());
  const Tensor weight = engine.module()->layers[3]->weight;
  const Tensor view = weight.t();
  const std::string missing =
      "parameter 'layer3.weight' is not resident: use it through an operator on a thread inside engine.scope(), or "
      "hold asterias::pin(tensor)";
  (void)batch(1).sum();
  CATCH_CHECK_THROWS_WITH(weight.data_ptr<float>(), Contains(missing));
  CATCH_CHECK_THROWS_WITH(weight.const_data_ptr<float>(), Contains(missing));
  CATCH_CHECK_THROWS_WITH(view.data_ptr<float>(), Contains(missing));
  const auto accessor_of = [](const Tensor& tensor) { return tensor.accessor<float, 2>(); };
  CATCH_CHECK_THROWS_WITH(accessor_of(weight), Contains(missing));
  {
    const auto pin = engine.pin(weight);
    (void)batch(1).sum();
    CATCH_CHECK(std::memcmp(weight.const_data_ptr<float>(), plain->layers[3]->weight.const_data_ptr<float>(),
                            weight.nbytes()) == 0);
    weight.data_ptr<float>()[5] = 7;
  }
  (void)batch(1).sum();
  CATCH_CHECK_THROWS_WITH(weight.data_ptr<float>(), Contains(missing));
  CATCH_CHECK(engine.parameter("layer3.weight")[0][5].item<float>() == 7);
  {
    const auto pin = engine.pin(engine.module()->parameters());
    (void)batch(1).sum();
    for (const auto& parameter : engine.module()->parameters()) CATCH_CHECK(parameter.data_ptr<float>() != nullptr);
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a thread with a scope may use the engine's tensors, one without is told",
                       "[engine]") {
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, always_absent());
  auto& held = engine;
  (void)batch(1).sum();
  const Tensor weight = engine.module()->layers[3]->weight;
  const double want = weight.detach().sum().item<double>();
  (void)batch(1).sum();
  double got = 0;
  std::string complaint;
  std::thread([&] {
    const auto scope = held.scope();
    got = weight.detach().sum().item<double>();
  }).join();
  std::thread([&] {
    try {
      (void)weight.detach().sum().item<double>();
    } catch (const std::exception& error) {
      complaint = error.what();
    }
    (void)torch::ones({100, 100}).sum();  // its own tensors are its own business
  }).join();
  CATCH_CHECK(got == want);
  CATCH_CHECK_THAT(complaint, Contains("parameter 'layer3.weight' is not resident") && Contains("engine.scope()"));
  train(engine, optimizer);
}

CATCH_TEST_CASE_METHOD(OneThread, "torch::save under pin writes what a plain module reads", "[engine]") {
  const auto want = fingerprint(*trained_plainly());
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, ample());
  train(engine, optimizer);
  const std::string path = "saved_under_pin.pt";
  {
    auto tensors = engine.module()->parameters();
    for (const auto& buffer : engine.module()->buffers()) tensors.push_back(buffer);
    const auto pin = engine.pin(tensors);
    torch::save(engine.module(), path);
  }
  Deep loaded;
  torch::load(loaded, path);
  std::filesystem::remove(path);
  CATCH_CHECK(fingerprint(*loaded) == engine.fingerprint());
  CATCH_CHECK(fingerprint(*loaded) == want);
}

// ---- evaluation -----------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "evaluation at any time disturbs neither the trace nor the training", "[engine]") {
  const auto want = fingerprint(*trained_plainly(6));
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, with_room(tight()));
  auto& held = engine;
  const Tensor inputs = batch(500);  // made outside: within a pass, an operator outside forward belongs to the trace
  const auto evaluate = [&](int rows) {
    const torch::NoGradGuard no_grad;
    held.eval();
    const auto part = held.run([&] { return inputs.narrow(0, 0, rows).repeat({2, 1}); });
    const auto out = held(part);
    held.train();
    return out;
  };
  evaluate(20).sum().item<double>();
  std::vector<std::uint64_t> needs;
  for (int i = 0; i < 6; ++i) {
    const bool look = i % 2 == 1;
    std::vector<Tensor> kept;  // what is looked at later costs no operator within a pass
    if (look) evaluate(10).sum().item<double>();
    optimizer.zero_grad();
    const auto out = engine(batch(i));
    if (look) kept.push_back(evaluate(32));
    const auto loss = (out - 0.1).pow(2).mean();
    if (look) kept.push_back(evaluate(7));
    engine.backward(loss);
    if (look) evaluate(30).sum().item<double>();
    optimizer.step();
    CATCH_CHECK(engine.stats().is_warm_up == (i == 0));
    const auto now = engine.plan().need_bytes_by_moment;
    if (i == 0) needs = now;
    CATCH_CHECK(now == needs);
    for (const auto& tensor : kept) CATCH_CHECK(std::isfinite(tensor.sum().item<double>()));
  }
  CATCH_CHECK(engine.fingerprint() == want);
}

CATCH_TEST_CASE_METHOD(OneThread, "an evaluation that keeps gradients on costs one more recording, and no bits",
                       "[engine]") {
  const auto want = fingerprint(*trained_plainly(6));
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, tight());
  for (int i = 0; i < 6; ++i) {
    optimizer.zero_grad();
    engine.backward((engine(batch(i)) - 0.1).pow(2).mean());
    optimizer.step();
    CATCH_CHECK(engine.stats().is_warm_up == (i == 0 || i == 2));  // its pass is still open when step 2 begins
    if (i % 2 == 0) continue;
    engine.eval();
    CATCH_CHECK(std::isfinite(engine(batch(80)).sum().item<double>()));
    engine.train();
  }
  CATCH_CHECK(engine.fingerprint() == want);
}

// ---- outliving it ---------------------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "what the user keeps outlives the engine: module, logits, gradients, graph",
                       "[engine]") {
  const auto plain = trained_plainly();
  for (const auto& config : {tight(), adamw_config(), always_absent()}) {
    std::shared_ptr<DeepImpl> module;
    Tensor logits, loss, gradient, view, copied;
    {
      torch::manual_seed(3);
      auto [engine, optimizer] = initialize_engine(make_deep, config);
      train(engine, optimizer);
      module = engine.module();
      logits = engine(batch(7));
      loss = logits.pow(2).sum();
      gradient = module->layers[2]->weight.grad();
      view = module->layers[4]->weight.detach()[3];
      copied = engine.parameter("layer0.weight");
      module->eval();  // the buffer stays as it is
    }
    auto twin = trained_plainly();
    const auto want = twin(batch(7));
    twin->eval();
    CATCH_CHECK(fingerprint(*module) == fingerprint(*twin));
    CATCH_CHECK(same_bits(logits, want));
    CATCH_CHECK(same_bits(gradient, plain->layers[2]->weight.grad()));
    CATCH_CHECK(same_bits(view, plain->layers[4]->weight[3]));
    CATCH_CHECK(same_bits(copied, plain->layers[0]->weight));
    for (const auto& kept : {module, twin.ptr()}) kept->zero_grad();
    loss.backward();  // the graph, too, is plain torch's again
    want.pow(2).sum().backward();
    for (std::size_t i = 0; i < module->layers.size(); ++i)
      CATCH_CHECK(same_bits(module->layers[i]->weight.grad(), twin->layers[i]->weight.grad()));
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a module that outlived its engine trains on under another", "[engine]") {
  const auto want_other = fingerprint(*trained_plainly());
  torch::manual_seed(3);
  Deep kept;
  for (int round = 0; round < 2; ++round) {
    auto [engine, optimizer] = initialize_engine(kept, with_room(tight()));
    train(engine, optimizer);
    CATCH_CHECK_THROWS_WITH(initialize_engine(kept, with_room(tight())), Contains("belongs to another engine"));
    optimizer.zero_grad();
  }
  torch::manual_seed(3);
  auto [other, optimizer_of_other] = initialize_engine(make_deep, with_room(tight()));  // keeps the runtime alive
  {
    auto [engine, optimizer] = initialize_engine(kept, with_room(tight()));
    train(engine, optimizer);
  }
  const auto want = fingerprint(*kept);
  auto [engine, optimizer] = initialize_engine(kept, with_room(tight()));
  CATCH_CHECK(engine.fingerprint() == want);
  train(engine, optimizer);
  train(other, optimizer_of_other);
  CATCH_CHECK(other.fingerprint() == want_other);
}

// ---- data of another origin -----------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "parameters that set_data or torch::load replaced go on training", "[engine]") {
  const auto other = [] { return torch::full({DeepImpl::kWidth, DeepImpl::kWidth}, 0.01); };
  torch::manual_seed(3);
  Deep plain;
  PlainOptimizer reference(trainable(*plain), hybrid_adam::Algorithm::kAdamW,
                           hyper_of(OptimizerType::kAdamW, adamw_config().optimizer.params), 0);
  for (int i = 0; i < 4; ++i) {
    if (i == 2) plain->layers[3]->weight.set_data(other());
    reference.zero_grad();
    (plain(batch(i)) - 0.1).pow(2).mean().backward();
    reference.step();
  }
  torch::manual_seed(3);
  auto [engine, optimizer] = initialize_engine(make_deep, always_absent());
  for (int i = 0; i < 4; ++i) {
    if (i == 2) engine.module()->layers[3]->weight.set_data(other());
    optimizer.zero_grad();
    engine.backward((engine(batch(i)) - 0.1).pow(2).mean());
    optimizer.step();
  }
  CATCH_CHECK(engine.fingerprint() == fingerprint(*plain));
  engine.module()->layers[3]->weight.set_data(torch::zeros({2, 2}));
  CATCH_CHECK_THROWS_WITH(engine(batch(1)), Contains("layer3.weight") && Contains("another shape"));
}

CATCH_TEST_CASE_METHOD(OneThread, "parameters can swap copies of their data", "[engine]") {
  check_same_bits(adamw_config(), make_deep, [](auto& run) {
    for (int i = 0; i < 4; ++i) {
      if (i == 2) {
        auto &a = run.module->layers[1]->weight, &b = run.module->layers[2]->weight;
        const auto was_a = a.data().clone();
        a.set_data(b.data().clone());
        b.set_data(was_a);
      }
      train_step(run, i);
    }
  });
}

CATCH_TEST_CASE_METHOD(OneThread, "a parameter cannot be given another one's own data, nor a part of its own",
                       "[engine]") {
  for (const bool is_half : {false, true}) {
    const auto config = is_half ? bf16_config() : adamw_config();
    auto [engine, optimizer] = initialize_engine(make_deep, simulated(config, kAmple));
    const auto forward = [&held = engine] { return held(batch(1)); };
    auto& weight = engine.module()->layers[3]->weight;
    const auto own = weight.data().clone();
    weight.set_data(engine.module()->layers[4]->weight.data());
    CATCH_CHECK_THROWS_WITH(
        forward(), Contains("layer3.weight") && Contains("of parameter 'layer4.weight'") && Contains("clone()"));
    weight.set_data(own);
    CATCH_CHECK_NOTHROW(forward());
    weight.set_data(weight.data().narrow(0, 32, 32));
    CATCH_CHECK_THROWS_WITH(forward(), Contains("layer3.weight") && Contains("another shape"));
    weight.set_data(own.t());
    CATCH_CHECK_THROWS_WITH(forward(), Contains("layer3.weight") && Contains("layout"));
  }
}

// ---- gradients of another layout ------------------------------------------------------------------------------------

CATCH_TEST_CASE_METHOD(OneThread, "a gradient may be a view of what lies in its place", "[engine]") {
  using View = torch::Tensor (*)(const torch::Tensor&);
  const auto train_with = [](const EngineConfig& config, View view, bool is_copied) {
    return run_engine(config, make_deep,
                      [=](auto& run) {
                        auto& weight = run.module->layers[1]->weight;
                        for (int i = 0; i < 3; ++i) {
                          weight.mutable_grad().reset();  // torch's zero_grad() cannot detach a view
                          run.optimizer.zero_grad();
                          run.backward(loss_of(run, i));
                          const torch::NoGradGuard no_grad;
                          const torch::Tensor seen = view(weight.grad());
                          weight.mutable_grad() = is_copied ? seen.contiguous() : seen;
                          run.optimizer.step();
                        }
                      })
        .outcome;
  };
  for (auto config : {adamw_config(), bf16_config()}) {
    for (const double clip : {0.0, 1e-2}) {
      for (const auto mode : {GradMode::kSeparate, GradMode::kReuse}) {
        if (mode == GradMode::kReuse && !config.bf16.enabled) continue;
        config.gradient_clipping = clip;
        config.placement.grad_mode = mode;
        for (const View view : {View{[](const torch::Tensor& grad) { return grad.t(); }},
                                View{[](const torch::Tensor& grad) { return grad.narrow(0, 3, 1).expand_as(grad); }}})
          CATCH_CHECK(difference(train_with(simulated(config, kAmple), view, true),
                                 train_with(simulated(config, kAmple), view, false)) == "");
      }
    }
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "what outlived an engine keeps its bits under the next one", "[engine]") {
  const auto config = with_room(tight());
  torch::manual_seed(3);
  Deep plain;
  plain(batch(0));  // moves the buffer
  PlainOptimizer reference(trainable(*plain), hybrid_adam::Algorithm::kAdamW,
                           hyper_of(OptimizerType::kAdamW, adamw_config().optimizer.params), 0);
  for (int i = 0; i < 4; ++i) {
    reference.zero_grad();
    (plain(batch(i)) - 0.1).pow(2).mean().backward();
    reference.step();
  }
  std::shared_ptr<DeepImpl> module;
  Tensor output;
  double sum = 0;
  torch::manual_seed(3);
  {
    auto [engine, optimizer] = initialize_engine(make_deep, always_absent());
    module = engine.module();
    output = engine(batch(0));
    sum = output.sum().item<double>();
    optimizer.zero_grad();
  }
  auto [engine, optimizer] = initialize_engine(module, config);
  CATCH_CHECK(output.sum().item<double>() == sum);
  train(engine, optimizer, 4);
  CATCH_CHECK(engine.fingerprint() == fingerprint(*plain));
}

CATCH_TEST_CASE_METHOD(OneThread, "an evaluation gets no more than its budget, also before the first step",
                       "[engine]") {
  const auto config = tight();
  const auto wide = torch::ones({static_cast<std::int64_t>(*config.tiers.gpu.limit.bytes) / 256, DeepImpl::kWidth});
  auto [engine, optimizer] = initialize_engine(make_deep, config);
  const torch::NoGradGuard no_grad;
  CATCH_CHECK_THROWS_AS(engine(wide), OutOfMemory);
}

}  // namespace asterias::test
