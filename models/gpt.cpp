#include "models/gpt.hpp"

#include <cmath>
#include <string>
#include <utility>

namespace asterias::models {
namespace {

constexpr double kInitStd = 0.02;  // GPT-2's initialiser range

torch::nn::LayerNorm layer_norm(std::int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

}  // namespace

GptBlockImpl::GptBlockImpl(const GptOptions& options) : heads_(options.heads), dropout_(options.dropout) {
  const std::int64_t width = options.hidden;
  norm1_ = register_module("norm1", layer_norm(width));
  qkv_ = register_module("qkv", torch::nn::Linear(width, 3 * width));
  projection_ = register_module("projection", torch::nn::Linear(width, width));
  norm2_ = register_module("norm2", layer_norm(width));
  up_ = register_module("up", torch::nn::Linear(width, 4 * width));
  down_ = register_module("down", torch::nn::Linear(4 * width, width));
  drop_ = register_module("drop", torch::nn::Dropout(dropout_));
}

torch::Tensor GptBlockImpl::forward(torch::Tensor x) {
  x = x + drop_(attention(norm1_(x)));
  return x + drop_(down_(torch::gelu(up_(norm2_(x)), "tanh")));
}

torch::Tensor GptBlockImpl::attention(const torch::Tensor& x) {
  const auto batch = x.size(0), tokens = x.size(1), width = x.size(2);
  const auto parts = qkv_(x).view({batch, tokens, 3, heads_, width / heads_}).permute({2, 0, 3, 1, 4}).unbind(0);
  const double dropout = is_training() ? dropout_ : 0.0;
  const auto mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, dropout, /*is_causal=*/true);
  return projection_(mixed.transpose(1, 2).reshape({batch, tokens, width}));
}

GptImpl::GptImpl(const GptOptions& options) : options_(options) {
  TORCH_CHECK(options.hidden % options.heads == 0, "hidden (", options.hidden, ") must be a multiple of heads (",
              options.heads, ")");
  tokens_ = register_module("tokens", torch::nn::Embedding(options.vocabulary, options.hidden));
  positions_ = register_module("positions", torch::nn::Embedding(options.sequence, options.hidden));
  drop_ = register_module("drop", torch::nn::Dropout(options.dropout));
  for (std::int64_t i = 0; i < options.layers; ++i)
    blocks_.emplace_back(register_module("block" + std::to_string(i), GptBlock(options)));
  norm_ = register_module("norm", layer_norm(options.hidden));
  initialize();
}

// Normal weights, zero biases; projections into the residual stream scaled by 1/sqrt(2 * layers) (GPT-2, section 2.3).
void GptImpl::initialize() {
  const torch::NoGradGuard no_grad;
  const double residual_std = kInitStd / std::sqrt(2.0 * static_cast<double>(options_.layers));
  for (auto& item : named_parameters()) {
    const std::string& name = item.key();
    const bool is_norm = name.find("norm") != std::string::npos;
    const bool is_residual =
        name.find("projection.weight") != std::string::npos || name.find("down.weight") != std::string::npos;
    if (is_norm) continue;
    if (name.ends_with("bias"))
      item.value().zero_();
    else
      item.value().normal_(0, is_residual ? residual_std : kInitStd);
  }
}

torch::Tensor GptImpl::forward(const torch::Tensor& ids) {
  const auto positions = torch::arange(ids.size(1), ids.options().dtype(torch::kLong));
  auto x = drop_(tokens_(ids) + positions_(positions));
  for (const auto& block : blocks_)
    x = run([block](torch::Tensor input) { return block.ptr()->forward(std::move(input)); }, x);
  return torch::linear(norm_(x), tokens_->weight);
}

}  // namespace asterias::models
