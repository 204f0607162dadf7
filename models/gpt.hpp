// GPT-2 (Radford et al. 2019) as plain torch::nn modules: pre-norm blocks, learned positions, GELU, tied head.
//
// Includes nothing of the runtime: the same class trains with and without it. Shapes: B batch, T tokens (<=
// options.sequence), D width.
//
// Threading: as torch modules.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "models/gpt_options.hpp"

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

// Runs `block` on `x` as it likes, once or again in backward, and returns what it gave: asterias::checkpoint, for
// example.
using BlockWrapper =
    std::function<torch::Tensor(const std::function<torch::Tensor(torch::Tensor)>& block, const torch::Tensor& x)>;

// Token ids [B, T] (int64, in [0, vocabulary)) -> logits [B, T, vocabulary].
class GptImpl : public torch::nn::Module {
 public:
  explicit GptImpl(const GptOptions& options);
  torch::Tensor forward(const torch::Tensor& ids);
  // Puts `wrapper` around every block from now on; an empty one takes it away.
  void wrap_blocks(BlockWrapper wrapper) { wrapper_ = std::move(wrapper); }
  const GptOptions& options() const { return options_; }

 private:
  void initialize();
  torch::Tensor run_block(const GptBlock& block, const torch::Tensor& x) const;

  GptOptions options_;
  BlockWrapper wrapper_;
  torch::nn::Embedding tokens_{nullptr}, positions_{nullptr};
  torch::nn::Dropout drop_{nullptr};
  std::vector<GptBlock> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
};
TORCH_MODULE(Gpt);

// Mean cross entropy of logits [B, T, V] against the next tokens [B, T].
torch::Tensor next_token_loss(const torch::Tensor& logits, const torch::Tensor& targets);

}  // namespace asterias::models
