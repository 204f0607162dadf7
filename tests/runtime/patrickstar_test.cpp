// PatrickStar's published configuration and its training loop: what a user of it tries first.
#include "models/gpt.hpp"
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

std::string published(bool fp16, bool release_after_init = true, bool use_cpu_embedding = false) {
  const auto word = [](bool value) { return std::string(value ? "true" : "false"); };
  return R"({ "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-6,
      "weight_decay": 0, "use_hybrid_adam": true}},
    "fp16": {"enabled": )" +
         word(fp16) +
         R"(, "loss_scale": 0, "initial_scale_power": 8, "loss_scale_window": 1000, "hysteresis": 2,
      "min_loss_scale": 1},
    "default_chunk_size": 67108864, "release_after_init": )" +
         word(release_after_init) + R"(, "use_cpu_embedding": )" + word(use_cpu_embedding) + "}";
}

// A model that returns its loss, as PatrickStar's examples do.
struct LanguageModelImpl : torch::nn::Module {
  LanguageModelImpl() {
    models::GptOptions options;
    options.vocabulary = 64;
    options.sequence = 16;
    options.layers = 2;
    options.hidden = 64;
    options.heads = 4;
    options.dropout = 0.1;
    gpt = register_module("gpt", models::Gpt(options));
  }
  torch::Tensor forward(const torch::Tensor& ids) {
    return models::next_token_loss(gpt(ids.narrow(1, 0, 16)), ids.narrow(1, 1, 16));
  }
  models::Gpt gpt{nullptr};
};
TORCH_MODULE(LanguageModel);

constexpr auto patrickstar_loop = [](auto& model) {
  for (int step = 0; step < 4; ++step) {
    const auto data = torch::randint(64, {2, 17}, at::detail::createCPUGenerator(static_cast<std::uint64_t>(step)));
    model.optimizer.zero_grad();
    const auto loss = model(data);
    model.backward(loss);
    model.optimizer.step();
    model.observe(loss.template item<double>());
  }
};

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "PatrickStar's configuration trains a GPT in PatrickStar's loop", "[patrickstar]") {
  const bool fp16 = GENERATE(true, false);
  const auto make = [] { return LanguageModel(); };
  const auto plain = run_plain(EngineConfig::from_json(published(fp16)), make, patrickstar_loop);
  CATCH_CHECK(plain.losses.front() != plain.losses.back());
  for (const bool release_after_init : {true, false})
    for (const bool use_cpu_embedding : {true, false}) {
      const auto config = EngineConfig::from_json(published(fp16, release_after_init, use_cpu_embedding));
      CATCH_CHECK(difference(plain, run_engine(config, make, patrickstar_loop).outcome) == "");
      const auto ample = run_engine(simulated(config, kAmple), make, patrickstar_loop);
      const auto tight = run_engine(simulated(config, tight_bytes(ample.plan)), make, patrickstar_loop);
      CATCH_CHECK(difference(plain, tight.outcome) == "");
    }
}

}  // namespace asterias::test
