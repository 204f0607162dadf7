// The training that the benchmarks of steps time: a GPT on random tokens, the same weights and batches for every
// contender.
//
// Threading: as torch modules.
#pragma once

#include <cstdint>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "models/gpt.hpp"

namespace asterias::bench {

struct GptTraining {
  models::GptOptions model{8192, 128, 8, 512, 8, 0.0};
  std::int64_t batch = 4;

  // --layers, --hidden, --heads, --seq, --vocabulary, --batch.
  void declare(CLI::App& app);

  // 16 bytes a parameter: itself, its gradient and two moments.
  std::uint64_t model_data_bytes() const;
  // A model with weights that are always the same.
  models::Gpt make_model() const;
  nlohmann::ordered_json json() const;
};

// Batches of a training, the same from every one that is made.
class Batches {
 public:
  explicit Batches(const GptTraining& training);
  // Ids [batch, sequence + 1]: inputs and targets overlap.
  torch::Tensor next();

 private:
  const GptTraining training_;
  torch::Generator generator_;
};

// Runs `forward` on the inputs of `ids` and returns the loss against their targets.
template <class Forward>
torch::Tensor loss_of(Forward&& forward, const torch::Tensor& ids) {
  const std::int64_t tokens = ids.size(1) - 1;
  return models::next_token_loss(forward(ids.narrow(1, 0, tokens)), ids.narrow(1, 1, tokens));
}

}  // namespace asterias::bench
