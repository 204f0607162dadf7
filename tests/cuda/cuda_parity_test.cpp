// The runtime on "cuda:0", the card faked: every case of the zoo has the bits of plain libtorch on the same device, and
// a model far larger than the card's memory trains in it.
#include <algorithm>
#include <string>
#include <vector>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "card_config.hpp"
#include "models/gpt.hpp"
#include "tests/runtime/case_training.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 4;

// Modules and inputs of this file are the card's.
struct OnCard {
  OnCard() {
    install_fake_card();
    case_device = torch::Device(torch::kCUDA, 0);
  }
  OnCard(const OnCard&) = delete;
  OnCard& operator=(const OnCard&) = delete;
  ~OnCard() { case_device = torch::kCPU; }
};

EngineConfig clipped() {
  auto config = adamw_config();
  config.gradient_clipping = 0.5;
  return config;
}

// Their fused kernels are a card's own: there is none to run on the host.
bool has_host_kernels(const Case& test) {
  return test.name.find("LSTM") == test.name.npos && test.name.find("GRU") == test.name.npos;
}

void check_format(const EngineConfig& format, const std::vector<std::string>& names) {
  for (const auto& test : zoo()) {
    const auto is_named = [&](const std::string& name) { return test.name.find(name) != test.name.npos; };
    if (std::none_of(names.begin(), names.end(), is_named)) continue;
    CATCH_DYNAMIC_SECTION(test.name) {
      const OnCard here;
      auto config = on_card(format);
      config.debug.evict_always = true;
      CATCH_CHECK(difference(train_plain(test, format, kSteps), train_engine(test, config, kSteps).outcome) == "");
    }
  }
}

// A GPT of 3.4 million parameters, 54 MB of model data in fp32.
Case deep_gpt() {
  return {
      "a deep GPT",
      []() -> ModulePtr {
        return std::make_shared<models::GptImpl>(models::GptOptions{
            .vocabulary = 512, .sequence = 32, .layers = 16, .hidden = 128, .heads = 4, .dropout = 0.1});
      },
      [](Step& step) {
        auto& gpt = static_cast<models::GptImpl&>(step.module);
        const auto ids = torch::randint(512, {2, 33}, at::detail::createCPUGenerator(step.iteration)).to(case_device);
        const auto loss = step.forward(
            [&] { return models::next_token_loss(gpt.forward(ids.narrow(1, 0, 32)), ids.narrow(1, 1, 32)); });
        step.backward(loss, false, false);
        step.observed.push_back(loss.item<double>());
      }};
}

}  // namespace

CATCH_TEST_CASE("on a card every case has the bits of plain libtorch", "[parity]") {
  for (const auto& test : zoo()) {
    if (!has_host_kernels(test)) continue;
    CATCH_DYNAMIC_SECTION(test.name) {
      const OnCard here;
      const auto plain = train_plain(test, clipped(), kSteps);
      CATCH_CHECK(difference(plain, train_engine(test, on_card(clipped()), kSteps).outcome) == "");
      auto config = on_card(clipped());
      config.debug.evict_always = true;
      CATCH_CHECK(difference(plain, train_engine(test, config, kSteps).outcome) == "");
    }
  }
}

CATCH_TEST_CASE("on a card bf16, fp16 and coded state have the bits of plain libtorch", "[parity]") {
  const std::vector<std::string> names{"GPT: SDPA", "Llama: rotary", "frozen between trained", "a branch"};
  auto config = clipped();
  config.bf16.enabled = true;
  CATCH_SECTION("bf16") { check_format(config, names); }
  CATCH_SECTION("bf16, 8-bit state") {
    config.optimizer.params.state_dtype = StateDtype::k8Bit;
    check_format(config, names);
  }
  CATCH_SECTION("bf16, gradients in their parameters' places") {
    config.placement.grad_mode = GradMode::kReuse;
    check_format(config, names);
  }
  CATCH_SECTION("fp16") {
    config.bf16.enabled = false;
    config.fp16.enabled = true;
    config.fp16.initial_scale_power = 8;
    check_format(config, names);
  }
}

CATCH_TEST_CASE("a model that is many times larger than the card trains with the same bits", "[parity]") {
  const OnCard here;
  const auto test = deep_gpt();
  const auto plain = train_plain(test, clipped(), kSteps);
  for (const std::uint64_t bytes : {64, 16, 6}) {
    for (const auto activations : {ActivationPlacement::kAuto, ActivationPlacement::kOffload}) {
      auto config = on_card(clipped(), bytes * kMiB);
      config.placement.activations = activations;
      const auto run = train_engine(test, config, kSteps);
      CATCH_CAPTURE(bytes, static_cast<int>(activations));
      CATCH_CHECK(difference(plain, run.outcome) == "");
      CATCH_CHECK(run.stats.tiers[0].limit_bytes == config.tiers.gpu.limit.bytes);
      CATCH_CHECK(run.stats.tiers[0].peak_bytes <= config.tiers.gpu.limit.bytes);
      CATCH_CHECK((bytes > 60 || run.stats.h2d_bytes > bytes * kMiB));
    }
  }
}

// Sums on the host have the order of the fake card's, which computes there, too.
CATCH_TEST_CASE("with tables in DRAM training on a card has the bits of plain libtorch", "[parity]") {
  for (const auto& test : zoo()) {
    if (test.name.find("GPT") == test.name.npos) continue;
    CATCH_DYNAMIC_SECTION(test.name) {
      const OnCard here;
      const auto plain = train_plain(test, clipped(), kSteps);
      for (const bool evicts_always : {false, true}) {
        auto config = on_card(clipped());
        config.use_cpu_embedding = true;
        config.debug.evict_always = evicts_always;
        CATCH_CHECK(difference(plain, train_engine(test, config, kSteps).outcome) == "");
      }
    }
  }
  const OnCard here;
  const auto test = deep_gpt();
  auto config = on_card(clipped(), 6 * kMiB);
  config.use_cpu_embedding = true;
  CATCH_CHECK(difference(train_plain(test, clipped(), kSteps), train_engine(test, config, kSteps).outcome) == "");
}

// Tensors that are no residents, too, and so have no bytes in DRAM that would come back.
CATCH_TEST_CASE("what a program adds up of the gradient of a table in DRAM is on the card", "[cuda]") {
  static constexpr std::int64_t kRows = 2000, kWidth = 64;
  const OnCard here;
  auto config = on_card(adamw_config(), 64 * kMiB);
  config.use_cpu_embedding = true;
  auto [engine, optimizer] = initialize_engine([] { return torch::nn::Embedding(kRows, kWidth); }, config);
  const auto row = torch::zeros({kWidth}, case_device), whole = torch::zeros({kRows, kWidth}, case_device);
  torch::Tensor gradient;
  engine.module()->weight.register_hook([&](const torch::Tensor& part) {
    const torch::NoGradGuard no_grad;
    row.add_(part[3]);
    whole.add_(part);
    whole.add_(part, 2);
    gradient = part.cpu();
  });
  engine.backward(engine(torch::full({8}, 3, torch::kLong).to(case_device)).pow(2).sum());
  CATCH_REQUIRE(gradient[3].abs().sum().item<double>() > 0);
  CATCH_CHECK(torch::equal(row.cpu(), gradient[3]));
  CATCH_CHECK(torch::equal(whole.cpu(), gradient + 2 * gradient));
}

CATCH_TEST_CASE("a table in DRAM may be larger than the card", "[parity]") {
  static constexpr std::int64_t kRows = 40000;  // of 64 numbers: 10.2 MB
  const OnCard here;
  const auto train = [](bool use_cpu_embedding, std::uint64_t bytes) {
    auto config = on_card(clipped(), bytes);
    config.use_cpu_embedding = use_cpu_embedding;
    torch::manual_seed(kCaseSeed);
    auto [engine, optimizer] = initialize_engine([] { return torch::nn::Embedding(kRows, 64); }, config);
    for (std::uint64_t i = 0; i < kSteps; ++i) {
      optimizer.zero_grad();
      const auto ids = torch::randint(kRows, {512}, at::detail::createCPUGenerator(i)).to(case_device);
      engine.backward(engine(ids).pow(2).mean());
      optimizer.step();
    }
    return engine.fingerprint();
  };
  CATCH_CHECK(train(true, 6 * kMiB) == train(false, 64 * kMiB));
  CATCH_CHECK_THROWS_AS(train(false, 6 * kMiB), BudgetError);
}

CATCH_TEST_CASE("without clipping, updates ahead of step on a card have the bits of plain libtorch", "[parity]") {
  const OnCard here;
  const auto test = deep_gpt();
  const auto run = train_engine(test, on_card(adamw_config(), 16 * kMiB), kSteps);
  CATCH_CHECK(difference(train_plain(test, adamw_config(), kSteps), run.outcome) == "");
}

}  // namespace asterias::test
