// GPT-2 (Radford et al. 2019) as plain torch::nn modules: pre-norm blocks, learned positions, GELU, tied head.
//
// Shapes: B batch, T tokens (<= options.sequence), D width.
//
// Threading: as torch modules.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/torch.h>

#include "models/gpt_options.hpp"
#include "models/language_model.hpp"

namespace asterias::models {

// Causal self-attention and a two-layer perceptron, each with a residual. [B, T, D] -> [B, T, D]
class GptBlockImpl : public torch::nn::Module {
 public:
  explicit GptBlockImpl(const GptOptions& options);
  torch::Tensor forward(torch::Tensor x);

 private:
  torch::Tensor attention(const torch::Tensor& x);

  std::int64_t heads_;
  double dropout_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear qkv_{nullptr}, projection_{nullptr}, up_{nullptr}, down_{nullptr};
  torch::nn::Dropout drop_{nullptr};
};
TORCH_MODULE(GptBlock);

class GptImpl : public LanguageModel {
 public:
  explicit GptImpl(const GptOptions& options);
  torch::Tensor forward(const torch::Tensor& ids) override;
  const GptOptions& options() const { return options_; }

 private:
  void initialize();

  GptOptions options_;
  torch::nn::Embedding tokens_{nullptr}, positions_{nullptr};
  torch::nn::Dropout drop_{nullptr};
  std::vector<GptBlock> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
};
TORCH_MODULE(Gpt);

}  // namespace asterias::models
