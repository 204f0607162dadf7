// What model_func makes under an engine equals what it makes without one, bit for bit, the generator's state afterwards
// included, whatever the constructor does and however little of the model fits at once.
#include <functional>
#include <numeric>

#include "device/page_block.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

using Catch::Matchers::Contains;
using torch::Tensor;
namespace nn = torch::nn;
using Make = std::function<std::shared_ptr<nn::Module>()>;

// ---- constructors ---------------------------------------------------------------------------------------------------

// A module that is what `build` does to it.
struct Built : nn::Module {
  explicit Built(const std::function<void(Built&)>& build) { build(*this); }
  Tensor add(const std::string& name, const Tensor& value, bool trainable = true) {
    return register_parameter(name, value, trainable);
  }
};

struct Case {
  std::string name;
  Make make;
};

Case built(const std::string& name, const std::function<void(Built&)>& build) {
  return {name, [build] { return std::make_shared<Built>(build); }};
}

Case sequence(const std::string& name, const std::function<nn::Sequential()>& make) {
  return {name, [make] { return make().ptr(); }};
}

void add_dense(std::vector<Case>& cases) {
  cases.push_back(sequence("dense", [] {
    return nn::Sequential(nn::Linear(96, 64), nn::LayerNorm(nn::LayerNormOptions({64, 40})),
                          nn::Linear(nn::LinearOptions(64, 96).bias(false)), nn::GroupNorm(nn::GroupNormOptions(4, 96)),
                          nn::Embedding(nn::EmbeddingOptions(300, 24).padding_idx(3)),
                          nn::EmbeddingBag(nn::EmbeddingBagOptions(200, 24)), nn::Bilinear(12, 13, 20));
  }));
  cases.push_back(sequence("convolutions", [] {
    return nn::Sequential(nn::Conv1d(nn::Conv1dOptions(16, 40, 5)), nn::Conv2d(nn::Conv2dOptions(8, 24, 3).groups(2)),
                          nn::Conv3d(nn::Conv3dOptions(4, 16, 3)),
                          nn::ConvTranspose2d(nn::ConvTranspose2dOptions(16, 12, 4)), nn::BatchNorm2d(1200),
                          nn::InstanceNorm2d(nn::InstanceNorm2dOptions(1200).affine(true)), nn::PReLU());
  }));
}

void add_recurrent_and_attention(std::vector<Case>& cases) {
  cases.push_back(sequence("recurrent", [] {
    return nn::Sequential(nn::LSTM(nn::LSTMOptions(24, 32).num_layers(2).bidirectional(true)), nn::GRU(24, 40),
                          nn::RNN(nn::RNNOptions(24, 48).num_layers(2)), nn::LSTMCell(24, 32), nn::GRUCell(24, 32));
  }));
  cases.push_back({"attention", [] {
                     return std::make_shared<Built>([](Built& all) {
                       all.register_module("plain", nn::MultiheadAttention(48, 4));
                       all.register_module(
                           "other", nn::MultiheadAttention(
                                        nn::MultiheadAttentionOptions(48, 4).kdim(40).vdim(56).add_bias_kv(true)));
                     });
                   }});
  cases.push_back({"encoder", [] {
                     const nn::TransformerEncoderLayer layer(
                         nn::TransformerEncoderLayerOptions(48, 4).dim_feedforward(80));
                     return nn::TransformerEncoder(nn::TransformerEncoderOptions(layer, 3)).ptr();
                   }});
  cases.push_back(
      {"transformer", [] { return nn::Transformer(nn::TransformerOptions(32, 4, 2, 2).dim_feedforward(64)).ptr(); }});
}

void add_initialisers(std::vector<Case>& cases) {
  cases.push_back(built("initialisers", [](Built& m) {
    nn::init::normal_(m.add("normal", torch::empty({40, 50})), 0.5, 0.1);
    nn::init::xavier_uniform_(m.add("xavier", torch::zeros({40, 50})));
    nn::init::xavier_normal_(m.add("xavier_normal", torch::ones({40, 50})));
    nn::init::kaiming_normal_(m.add("kaiming", torch::full({40, 50}, 2.5)));
    nn::init::orthogonal_(m.add("orthogonal", torch::empty({60, 40})));
    nn::init::sparse_(m.add("sparse", torch::empty({60, 40})), 0.2);
    nn::init::dirac_(m.add("dirac", torch::empty({24, 24, 3})));
    nn::init::eye_(m.add("eye", torch::empty({40, 50})));
    m.add("scaled", torch::randn({60, 70}) * 0.02);
    m.add("triangle", torch::tril(torch::ones({50, 50})));
    m.add("range", torch::arange(2000, torch::kFloat) / 3);
    m.add("mixed", torch::where(torch::rand({50, 50}) > 0.3, torch::randn({50, 50}), torch::zeros({50, 50})));
    m.add("permuted", torch::randperm(2000).to(torch::kFloat));
    m.add("drawn", torch::bernoulli(torch::full({50, 50}, 0.25)) + torch::multinomial(torch::rand({50, 60}), 50));
    m.add("dropped", torch::dropout(torch::ones({50, 50}), 0.4, true));
    m.add("truncated", torch::empty({50, 50}).uniform_(-3, 3).clamp_(-2, 2).erfinv_().nan_to_num_());
  }));
  cases.push_back(built("literals", [](Built& m) {
    std::vector<float> values(3000);
    std::iota(values.begin(), values.end(), -7.0F);
    m.add("literal", torch::tensor(values));
    m.add("small", torch::tensor({{1.5F, 2.5F}, {-0.0F, 1e-40F}}));
    m.add("copied", torch::from_blob(values.data(), {50, 60}).clone());
    const auto keep = std::make_shared<std::vector<float>>(values);
    m.add("borrowed", torch::from_blob(keep->data(), {50, 60}, [keep](void*) {}));
  }));
  cases.push_back(built("generators of its own", [](Built& m) {
    auto generator = at::detail::createCPUGenerator(99);
    m.add("own", torch::randn({50, 50}, generator));
    m.add("shared", torch::randn({50, 50}));
    torch::manual_seed(5);
    m.add("reseeded", torch::randn({50, 50}));
    auto standard = at::detail::getDefaultCPUGenerator();
    const auto state = standard.get_state();
    m.add("once", torch::randn({50, 50}));
    standard.set_state(state);
    m.add("again", torch::randn({50, 50}));
  }));
}

void add_structures(std::vector<Case>& cases) {
  cases.push_back(built("tied", [](Built& m) {
    auto table = m.register_module("table", nn::Embedding(100, 40));
    auto head = m.register_module("head", nn::Linear(nn::LinearOptions(40, 100).bias(false)));
    head->weight.set_data(table->weight);
    m.add("alias", table->weight);
    const Tensor both = torch::randn({80, 50});
    m.add("upper", both.narrow(0, 0, 40));
    m.add("lower", both.narrow(0, 40, 40));
    m.add("crossed", torch::randn({50, 60}).t());
    m.add("moved", torch::randn({8, 20, 30}).permute({2, 0, 1}));
    m.add("frozen", torch::randn({60, 50}), false);
    m.add("gaps", torch::randn({60, 50}).slice(1, 0, 50, 2), false);
    m.add("nothing", torch::empty({0, 4}));
  }));
  cases.push_back(built("replaced", [](Built& m) {
    auto linear = m.register_module("linear", nn::Linear(60, 50));
    linear->weight.set_data(torch::randn({50, 60}) * 3);
    auto gone = m.register_module("gone", nn::Linear(60, 50));
    m.unregister_module("gone");
    gone = nullptr;
    m.register_module("swapped", nn::Linear(60, 50));
    m.replace_module("swapped", nn::Conv1d(nn::Conv1dOptions(20, 30, 3)));
    {
      const torch::NoGradGuard no_grad;
      linear->bias.copy_(linear->weight.mean(1));
      linear->weight.narrow(0, 3, 5).zero_();
      linear->weight.index_put_({torch::tensor({1, 4})}, 8);
    }
  }));
  cases.push_back(built("nested", [](Built& m) {
    nn::ModuleList list;
    for (int i = 0; i < 3; ++i) list->push_back(nn::Sequential(nn::Linear(40, 50), nn::ReLU(), nn::Linear(50, 40)));
    m.register_module("list", list);
    nn::ModuleDict dict;
    dict->update(std::vector<std::pair<std::string, std::shared_ptr<nn::Module>>>{
        {"a", nn::Linear(40, 50).ptr()}, {"b", nn::LayerNorm(nn::LayerNormOptions({40, 50})).ptr()}});
    m.register_module("dict", dict);
    m.register_module("twice", list);
    m.register_module("copy", std::dynamic_pointer_cast<nn::Module>(list->clone()));
    nn::ParameterList parameters(torch::randn({50, 50}), torch::randn({50, 50}));
    m.register_module("parameters", parameters);
  }));
  cases.push_back(built("buffers", [](Built& m) {
    m.register_buffer("positions", torch::outer(torch::arange(60, torch::kFloat), torch::randn({60}).exp()).sin());
    m.register_buffer("mask", torch::ones({80, 80}).triu(1).to(torch::kBool));
    m.register_buffer("numbers", torch::arange(1000).flip(0));
    m.register_buffer("halves", torch::randn({60, 60}).to(torch::kHalf));
    m.register_buffer("one", torch::tensor(3));
    m.add("weight", torch::randn({50, 50}));
  }));
}

void add_readers(std::vector<Case>& cases) {
  cases.push_back(built("reads values", [](Built& m) {
    const torch::NoGradGuard no_grad;
    const Tensor weight = m.add("weight", torch::randn({60, 60}));
    while (weight.norm().item<float>() > 20) weight.mul_(0.9);
    const Tensor largest = weight.abs().max();
    m.add("more", torch::randn({60, static_cast<std::int64_t>(40 + largest.item<double>() * 3)}));
    if (torch::equal(weight, weight.t())) m.add("never", torch::randn({50}));
    for (int i = 0; i < 3; ++i) weight[i][i] = weight[i + 1][0].item<float>();
  }));
  cases.push_back(built("writes by pointer", [](Built& m) {
    const Tensor filled = torch::empty({50, 60});
    auto rows = filled.accessor<float, 2>();
    for (int i = 0; i < 50; ++i)
      for (int j = 0; j < 60; ++j) rows[i][j] = static_cast<float>(i - j) / 7;
    m.add("filled", filled);
    const Tensor pinned = m.add("pinned", torch::randn({60, 60}));
    m.add("between", torch::randn({60, 60}));
    const auto pin = asterias::pin(pinned);
    const float sum = pinned.sum().item<float>();
    pinned.data_ptr<float>()[7] = sum;
  }));
  cases.push_back(built("computes gradients", [](Built& m) {
    auto first = m.register_module("first", nn::Linear(50, 60));
    auto second = m.register_module("second", nn::Linear(60, 50));
    for (int i = 0; i < 2; ++i) {
      const Tensor out = second->forward(torch::tanh(first->forward(torch::randn({4, 50}))));
      out.var().backward();
      const torch::NoGradGuard no_grad;
      for (auto& parameter : m.parameters()) parameter.sub_(parameter.grad(), 0.1);
      m.zero_grad();
    }
  }));
  cases.push_back(built("default dtype", [](Built& m) {
    const auto before = torch::get_default_dtype();
    torch::set_default_dtype(caffe2::TypeMeta::Make<double>());
    m.add("precise", torch::randn({50, 60}), false);
    const nn::Linear computed(60, 50);
    torch::set_default_dtype(before);
    m.add("rounded", computed->weight.detach().to(torch::kFloat));
    const torch::NoGradGuard no_grad;
    m.register_module("inner", nn::Linear(50, 60));
  }));
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  add_dense(cases);
  add_recurrent_and_attention(cases);
  add_initialisers(cases);
  add_structures(cases);
  add_readers(cases);
  return cases;
}

// ---- with and without an engine -------------------------------------------------------------------------------------

struct Outcomes {
  std::uint64_t fingerprint = 0;
  Tensor generator;
};

Tensor generator_state() { return at::detail::getDefaultCPUGenerator().get_state(); }

Outcomes build_plainly(const Make& make) {
  torch::manual_seed(11);
  const auto module = make();
  const auto generator = generator_state();
  return {fingerprint(*module), generator};
}

struct Engined {
  Outcomes outcomes;
  evict::Needs needs;
  std::uint64_t peak_bytes = 0;  // of the accelerator, while it was built
  bool is_refused = false;
};

Engined build_engine(const Make& make, const EngineConfig& config) {
  torch::manual_seed(11);
  EngineCore core(config, make, nullptr);
  Engined built;
  built.outcomes.generator = generator_state();
  const auto& residency = core.shared_runtime()->residency();
  const auto& tiers = residency.hierarchy();
  built.needs = residency.needs();
  if (tiers.has(Tier::kGpu)) built.peak_bytes = tiers.pool(Tier::kGpu).peak_used_bytes();
  built.is_refused = residency.is_refused();
  built.outcomes.fingerprint = core.fingerprint();
  return built;
}

bool same(const Outcomes& a, const Outcomes& b) {
  return a.fingerprint == b.fingerprint && same_bits(a.generator, b.generator);
}

EngineConfig on_drive() {
  auto config = adamw_config();
  config.tiers.nvme.paths = {swap_folder()};
  config.debug.evict_always = true;
  config.debug.poison = true;
  return config;
}

Make make_stack(int num_layers, int fails_at = -1) {
  return [=] {
    return std::make_shared<Built>([=](Built& m) {
      for (int i = 0; i < num_layers; ++i) {
        m.register_module("layer" + std::to_string(i), nn::Linear(64, 64));
        if (i == fails_at) throw std::runtime_error("in the middle");
      }
    });
  };
}

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "what a constructor makes has the bits of plain construction at every budget",
                       "[construction]") {
  for (const auto& [name, make] : all_cases()) {
    CATCH_DYNAMIC_SECTION(name) {
      const auto plain = build_plainly(make);
      const auto ample = build_engine(make, simulated(adamw_config(), kAmple));
      CATCH_CHECK(same(ample.outcomes, plain));
      CATCH_CHECK(same(build_engine(make, adamw_config()).outcomes, plain));
      // Everything goes to the drive after every operator.
      CATCH_CHECK(same(build_engine(make, on_drive()).outcomes, plain));
      // The accelerator holds what the largest operator names.
      const auto need = ample.needs.working_set[0];
      const auto tight = build_engine(make, simulated(adamw_config(), need));
      CATCH_CHECK(same(tight.outcomes, plain));
      CATCH_CHECK_FALSE(tight.is_refused);
      CATCH_CHECK(tight.peak_bytes <= need);
      CATCH_CHECK(build_engine(make, simulated(adamw_config(), need - 4096)).is_refused);
    }
  }
}

// A tensor goes into its chunk by a copy, and both lie on the compute tier then.
CATCH_TEST_CASE_METHOD(OneThread, "construction needs the largest tensor twice, or a chunk and the tensor",
                       "[construction]") {
  const auto large = [] {
    return std::make_shared<Built>([](Built& m) {
      for (int i = 0; i < 6; ++i) m.add("small" + std::to_string(i), torch::empty({64, 64}).normal_());
      m.add("large", torch::empty({1024, 256}).normal_());
    });
  };
  CATCH_CHECK(build_engine(large, simulated(adamw_config(), kAmple)).needs.working_set[0] == std::uint64_t{2} << 20);
  const auto chunk_bytes = [&] {
    EngineCore core(simulated(adamw_config(), kAmple), make_stack(40), nullptr);
    return core.data().chunk_bytes();
  }();
  const auto working_set = build_engine(make_stack(40), simulated(adamw_config(), kAmple)).needs.working_set[0];
  CATCH_CHECK(working_set >= chunk_bytes + 64 * 64 * sizeof(float));
  CATCH_CHECK(working_set <= chunk_bytes + 64 * 64 * sizeof(float) + 64 * 1024);  // biases are below a page: unmovable
}

// A failing test once: a tensor that an operator had brought back was clean, and what a pointer then wrote was lost.
CATCH_TEST_CASE_METHOD(OneThread, "what a constructor writes by pointer is kept, or refused when the bytes are away",
                       "[construction]") {
  constexpr std::int64_t kLarge = 1 << 16;  // elements
  const Make make = [] {
    return std::make_shared<Built>([](Built& m) {
      const torch::NoGradGuard no_grad;
      const Tensor weight = m.add("weight", torch::randn({kLarge}));
      m.add("pushes", torch::randn({kLarge}));
      const float sum = weight.sum().item<float>();
      weight.data_ptr<float>()[5] = sum;
      m.add("pushes again", torch::randn({kLarge}));
    });
  };
  const auto plain = build_plainly(make);
  const std::uint64_t room = kLarge * sizeof(float) * 3 / 2;
  for (const auto gpu_bytes : {kAmple, room})
    CATCH_CHECK(same(build_engine(make, simulated(adamw_config(), gpu_bytes)).outcomes, plain));
  CATCH_CHECK_THROWS_WITH(build_engine(make, on_drive()), Contains("is not resident") && Contains("asterias::pin"));
}

CATCH_TEST_CASE_METHOD(OneThread, "a constructor that throws anywhere leaves nothing behind", "[construction]") {
  const auto config = simulated(adamw_config(), 96 * 1024);
  const auto plain = build_plainly(make_stack(8));
  for (int at = 0; at < 8; ++at) {
    const auto mapped = device::PageBlock::mapped_bytes();
    CATCH_CHECK_THROWS_WITH(build_engine(make_stack(8, at), config), "in the middle");
    CATCH_CHECK(runtime::Runtime::current() == nullptr);
    CATCH_CHECK(device::PageBlock::mapped_bytes() == mapped);
    CATCH_CHECK(same(build_engine(make_stack(8), config).outcomes, plain));
  }
  torch::manual_seed(11);
  EngineCore first(config, make_stack(8), nullptr);
  auto& residency = first.shared_runtime()->residency();
  const auto before = residency.num_residents();
  const auto content = residency.needs().content;
  CATCH_CHECK_THROWS_WITH(EngineCore(config, make_stack(4, 2), nullptr), "in the middle");
  CATCH_CHECK(residency.num_residents() == before);
  CATCH_CHECK(residency.needs().content == content);
  CATCH_CHECK(first.fingerprint() == plain.fingerprint);
}

CATCH_TEST_CASE_METHOD(OneThread, "a second model that cannot be built after an update is refused, the first goes on",
                       "[construction]") {
  const auto make = [] { return Deep(4); };
  const auto plain = run_plain(adamw_config(), make, [](auto& run) {
    for (int i = 0; i < 4; ++i) train_step(run, i);
  });
  const auto large = [] { return nn::Linear(1024, 1024); };
  const auto shared = run_engine(simulated(adamw_config(), 1 << 20), make, [&](auto& run) {
    for (int i = 0; i < 4; ++i) {
      train_step(run, i);
      try {
        initialize_engine(large, simulated(adamw_config(), 1 << 20));
        CATCH_FAIL("4 MiB fitted into 1 MiB");
      } catch (const BudgetError& error) {
        CATCH_CHECK(error.tier() == Tier::kGpu);
        CATCH_CHECK(error.have_bytes() == 1 << 20);
        CATCH_CHECK(error.need_bytes() >= 4 << 20);
        CATCH_CHECK_THAT(error.what(), Contains("while another model was built") && Contains("at least: limits are"));
      }
    }
  });
  CATCH_CHECK(difference(plain, shared.outcome) == "");
}

CATCH_TEST_CASE_METHOD(OneThread, "a trainable parameter that is registered later is refused, by name",
                       "[construction]") {
  auto [engine, optimizer] = initialize_engine([] { return Deep(4); }, simulated(adamw_config(), kAmple));
  const auto module = engine.module();
  engine.backward(engine(batch(1)).sum());
  optimizer.step();
  module->register_parameter("fixed", torch::randn({64, 64}), /*requires_grad=*/false);
  engine.backward(engine(batch(2)).sum());
  optimizer.step();
  const auto late = module->layers[2]->register_parameter("late", torch::randn({64, 64}));
  const auto before = engine.fingerprint();
  CATCH_CHECK_THROWS_AS(engine(batch(1)), StateError);
  CATCH_CHECK_THROWS_WITH(engine(batch(1)), Contains("'layer2.late' was registered after initialize_engine"));
  CATCH_CHECK_THROWS_AS(optimizer.step(), StateError);
  CATCH_CHECK(engine.fingerprint() == before);
  late.set_requires_grad(false);
  CATCH_CHECK_NOTHROW(engine(batch(1)));
  module->replace_module("layer1", nn::Linear(64, 64));
  CATCH_CHECK_THROWS_WITH(engine(batch(1)), Contains("'layer1.weight'"));
  module->replace_module("layer1", module->layers[1]);
  CATCH_CHECK_NOTHROW(engine(batch(1)));
}

}  // namespace asterias::test
