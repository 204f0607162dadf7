// What a user meets on "cuda:0" besides right bits: where tensors are, what is refused, and what happens when the card
// is lost.
#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "card_config.hpp"
#include "runtime/cuda_backend.hpp"
#include "tests/base/captured_stderr.hpp"
#include "tests/runtime/side_by_side.hpp"

namespace asterias::test {
namespace {

const torch::Device kCard(torch::kCUDA, 0);

template <class Initialized>
double one_step(Initialized& made, int seed) {
  made.optimizer.zero_grad();
  const auto loss = made.engine(batch(seed).to(made.engine.device())).pow(2).mean();
  made.engine.backward(loss);
  made.optimizer.step();
  return loss.template item<double>();
}

}  // namespace

CATCH_TEST_CASE("on a card the module's tensors are the card's, and what an engine copies out is the CPU's", "[cuda]") {
  const OneThread here;
  auto made = initialize_engine(make_deep, on_card(adamw_config()));
  CATCH_CHECK(made.engine.device() == kCard);
  for (const auto& parameter : made.engine.module()->parameters()) CATCH_CHECK(parameter.device() == kCard);
  for (const auto& buffer : made.engine.module()->buffers()) CATCH_CHECK(buffer.device() == kCard);
  one_step(made, 1);
  CATCH_CHECK(made.engine.parameter("layer0.weight").device() == torch::kCPU);
  CATCH_CHECK(made.engine.gradient("layer0.weight").device() == torch::kCPU);
  CATCH_CHECK(made.engine.buffer("mean").device() == torch::kCPU);
  CATCH_CHECK(made.engine.module()->layers[0]->weight.grad().device() == kCard);
  CATCH_CHECK(made.engine.config().device == "cuda:0");
}

CATCH_TEST_CASE("a module outlives its engine on the card, and joins another", "[cuda]") {
  const OneThread here;
  const auto config = on_card(adamw_config());
  std::shared_ptr<DeepImpl> module;
  double expected = 0;
  std::uint64_t before = 0;
  {
    auto made = initialize_engine(make_deep, config);
    one_step(made, 1);
    module = made.engine.module();
    before = made.engine.fingerprint();
    const torch::NoGradGuard no_grad;
    module->eval();
    expected = made.engine(batch(2).to(kCard)).sum().item<double>();
  }
  {
    const torch::NoGradGuard no_grad;
    CATCH_CHECK(module->forward(batch(2).to(kCard)).sum().item<double>() == expected);
    CATCH_CHECK(fingerprint(*module) == before);
  }
  auto made = initialize_engine([&] { return module; }, config);
  CATCH_CHECK(made.engine.fingerprint() == before);
  one_step(made, 3);
  CATCH_CHECK(made.engine.fingerprint() != before);
}

CATCH_TEST_CASE("a model may be built on the card", "[cuda]") {
  const OneThread here;
  const auto config = on_card(adamw_config());
  const auto fingerprint_of = [&](const auto& make) {
    torch::manual_seed(3);
    auto made = initialize_engine(make, config);
    one_step(made, 1);
    return made.engine.fingerprint();
  };
  const auto on_cpu = fingerprint_of(make_deep);
  CATCH_CHECK(fingerprint_of([] {
                auto model = make_deep();
                model->to(kCard);
                return model;
              }) == on_cpu);
}

CATCH_TEST_CASE("a card's budget that is too small is refused with one that does", "[cuda]") {
  const OneThread here;
  auto config = on_card(adamw_config(), 2 * kMiB);
  const auto make = [] { return torch::nn::Linear(1024, 1024); };
  const auto step = [&] {
    auto made = initialize_engine(make, config);
    const auto loss = made.engine(torch::ones({4, 1024}).to(kCard)).mean();
    made.engine.backward(loss);
    made.optimizer.step();
  };
  std::uint64_t smallest = 0;
  try {
    step();
    CATCH_FAIL("4 MiB of weights cannot be pinned in 2 MiB");
  } catch (const BudgetError& error) {
    CATCH_CHECK(error.tier() == Tier::kGpu);
    smallest = error.smallest().front().bytes;
  }
  config.tiers.gpu.limit.bytes = smallest;
  step();
}

CATCH_TEST_CASE("what a card cannot do is refused before anything is made", "[cuda]") {
  const auto refuses = [](const EngineConfig& config, const std::string& text) {
    CATCH_CHECK_THROWS_WITH(initialize_engine(make_deep, config), Catch::Contains(text));
  };
  auto config = on_card(adamw_config());
  config.device = "cuda:3";
  refuses(config, "cuda:3");
  config = on_card(adamw_config());
  config.debug.audit = true;
  refuses(config, "debug.audit");
  config = on_card(adamw_config());
  config.tiers.gpu.link.h2d_bytes_per_second = 1000;
  refuses(config, "tiers.gpu.link");
  config = on_card(adamw_config());
  config.tiers.gpu.limit.bytes = 100 * kMiB;
  refuses(config, "raise the limit");
  config.tiers.gpu.limit.bytes = std::uint64_t{1} << 40;
  refuses(config, "in all");
}

CATCH_TEST_CASE("a workspace of cuBLAS that is not deterministic is refused where bits must repeat", "[cuda]") {
  struct Environment {
    explicit Environment(const char* value) { ::setenv("CUBLAS_WORKSPACE_CONFIG", value, /*overwrite=*/1); }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;
    ~Environment() { ::unsetenv("CUBLAS_WORKSPACE_CONFIG"); }
  };
  const OneThread here;
  auto config = on_card(adamw_config());
  for (const char* const value : {":16:8", ":4096:8"}) {
    const Environment set(value);
    auto made = initialize_engine(make_deep, config);
    one_step(made, 1);
  }
  const Environment set(":4096:2:16:8");
  CATCH_CHECK_THROWS_WITH(initialize_engine(make_deep, config), Catch::Contains("environment says \":4096:2:16:8\""));
  config.deterministic = false;
  auto made = initialize_engine(make_deep, config);
  one_step(made, 1);
}

CATCH_TEST_CASE("a plugin of another major version of CUDA than torch is no card", "[cuda]") {
  fake_card().version = 12080;
  install_fake_card();
  {
    const tests::CapturedStderr lines;
    CATCH_CHECK_FALSE(runtime::has_card());
    CATCH_CHECK(EngineConfig().resolved_device() == "cpu");
    CATCH_CHECK(tests::count_of(lines.text(), "the CUDA plugin cannot be used") == 1);
  }
  CATCH_CHECK_THROWS_WITH(
      initialize_engine(make_deep, on_card(adamw_config())),
      Catch::Contains("it was built with CUDA 12.8, and libtorch_cuda with CUDA 13.0; build it with nvcc 13"));
  fake_card().version = 13010;
  install_fake_card();
  CATCH_CHECK(runtime::has_card());
  fake_card().version = 13000;
}

CATCH_TEST_CASE("auto is the first card", "[cuda]") {
  install_fake_card();
  EngineConfig config;
  CATCH_CHECK(config.resolved_device() == "cuda:0");
  config.device = "cuda";
  CATCH_CHECK(config.resolved_device() == "cuda:0");
  config.device = "cpu";
  CATCH_CHECK(config.resolved_device() == "cpu");
}

CATCH_TEST_CASE("a share of the card is a limit", "[cuda]") {
  auto config = on_card(adamw_config());
  config.tiers.gpu.limit = ByteLimit();
  const auto wanted = static_cast<double>(kCardLibraryBytes + 33 * kMiB);
  config.tiers.gpu.limit.share = wanted / static_cast<double>(fake_card().devices[0].total_bytes);
  auto made = initialize_engine(make_deep, config);
  CATCH_CHECK(made.engine.plan().tiers.front().limit_bytes == kCardLibraryBytes + 32 * kMiB);
}

CATCH_TEST_CASE("an operator on another stream than moves are ordered by is refused", "[cuda]") {
  const OneThread here;
  auto made = initialize_engine(make_deep, on_card(adamw_config()));
  const auto input = batch(1).to(kCard);
  set_on_stream(false);
  CATCH_CHECK_THROWS_WITH(made.engine(input), Catch::Contains("default one"));
  set_on_stream(true);
  one_step(made, 1);
}

CATCH_TEST_CASE("a card that is lost in mid-run is a clear error, and what the engine holds goes in peace",
                "[cuda][fault]") {
  const OneThread here;
  auto config = on_card(adamw_config());
  config.debug.evict_always = true;
  {
    auto made = initialize_engine(make_deep, config);
    one_step(made, 1);
    fake_card().lose();
    bool is_told = false;
    try {
      one_step(made, 2);
    } catch (const std::exception& error) {
      is_told = std::string(error.what()).find("lost") != std::string::npos;
    }
    CATCH_CHECK(is_told);
    CATCH_CHECK_THROWS(one_step(made, 3));
  }
  fake_card().is_lost = false;
}

}  // namespace asterias::test
