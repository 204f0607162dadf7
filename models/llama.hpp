// Llama (Touvron et al. 2023) as plain torch::nn modules: RMSNorm before, rotary positions, SwiGLU, an untied head, no
// biases; and its successors' grouped-query attention (Ainslie et al. 2023).
//
// Positions are computed, not kept (rotary.hpp): a sequence may have any length, and casting the module leaves them as
// exact as they are. Shapes: B batch, T tokens, D width.
//
// Threading: as torch modules.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/torch.h>

#include "models/language_model.hpp"
#include "models/llama_options.hpp"

namespace asterias::models {

// x / sqrt(mean(x^2) + epsilon) * weight over the last dimension, in fp32 and rounded to x's dtype once. (The published
// code rounds before it multiplies by the weight as well; torch's kernel, which this is on a card, does not.)
class RmsNormImpl : public torch::nn::Module {
 public:
  RmsNormImpl(std::int64_t width, double epsilon);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  double epsilon_;
  torch::Tensor weight_;
};
TORCH_MODULE(RmsNorm);

// Causal self-attention and a gated perceptron, each with a residual. [B, T, D] -> [B, T, D]
class LlamaBlockImpl : public torch::nn::Module {
 public:
  explicit LlamaBlockImpl(const LlamaOptions& options);
  // `turns` are those of T positions (rotary.hpp).
  torch::Tensor forward(torch::Tensor x, const torch::Tensor& turns);

 private:
  torch::Tensor attention(const torch::Tensor& x, const torch::Tensor& turns);

  std::int64_t heads_, kv_heads_;
  RmsNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear qkv_{nullptr}, projection_{nullptr}, gate_{nullptr}, up_{nullptr}, down_{nullptr};
};
TORCH_MODULE(LlamaBlock);

class LlamaImpl : public LanguageModel {
 public:
  explicit LlamaImpl(const LlamaOptions& options);
  torch::Tensor forward(const torch::Tensor& ids) override;
  const LlamaOptions& options() const { return options_; }

 private:
  void initialize();

  LlamaOptions options_;
  torch::nn::Embedding tokens_{nullptr};
  std::vector<LlamaBlock> blocks_;
  RmsNorm norm_{nullptr};
  torch::nn::Linear head_{nullptr};
};
TORCH_MODULE(Llama);

}  // namespace asterias::models
