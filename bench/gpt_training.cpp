#include "bench/gpt_training.hpp"

namespace asterias::bench {

void GptTraining::declare(CLI::App& app) {
  app.add_option("--layers", model.layers)->take_last()->capture_default_str();
  app.add_option("--hidden", model.hidden)->take_last()->capture_default_str();
  app.add_option("--heads", model.heads)->take_last()->capture_default_str();
  app.add_option("--seq", model.sequence)->take_last()->capture_default_str();
  app.add_option("--vocabulary", model.vocabulary)->take_last()->capture_default_str();
  app.add_option("--batch", batch)->take_last()->capture_default_str();
}

std::uint64_t GptTraining::model_data_bytes() const { return static_cast<std::uint64_t>(model.num_parameters()) * 16; }

models::Gpt GptTraining::make_model() const {
  torch::manual_seed(1);
  return models::Gpt(model);
}

nlohmann::ordered_json GptTraining::json() const {
  return {{"parameters", model.num_parameters()},
          {"layers", model.layers},
          {"hidden", model.hidden},
          {"heads", model.heads},
          {"vocabulary", model.vocabulary},
          {"sequence", model.sequence},
          {"batch", batch}};
}

Batches::Batches(const GptTraining& training) : training_(training), generator_(at::detail::createCPUGenerator(3)) {}

torch::Tensor Batches::next() {
  return torch::randint(training_.model.vocabulary, {training_.batch, training_.model.sequence + 1}, generator_);
}

}  // namespace asterias::bench
