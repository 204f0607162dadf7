#include "models/llama.hpp"

#include <string>
#include <utility>

#include "models/rotary.hpp"

namespace asterias::models {
namespace {

constexpr double kInitStd = 0.02;

torch::nn::Linear linear(std::int64_t from, std::int64_t to) {
  return torch::nn::Linear(torch::nn::LinearOptions(from, to).bias(false));
}

}  // namespace

RmsNormImpl::RmsNormImpl(std::int64_t width, double epsilon)
    : epsilon_(epsilon), weight_(register_parameter("weight", torch::ones({width}))) {}

torch::Tensor RmsNormImpl::forward(const torch::Tensor& x) {
  return torch::rms_norm(x, weight_.sizes(), weight_, epsilon_);
}

LlamaBlockImpl::LlamaBlockImpl(const LlamaOptions& options) : heads_(options.heads), kv_heads_(options.kv_heads) {
  const std::int64_t width = options.hidden, head_width = width / heads_, inner = options.intermediate;
  norm1_ = register_module("norm1", RmsNorm(width, options.norm_epsilon));
  qkv_ = register_module("qkv", linear(width, (heads_ + 2 * kv_heads_) * head_width));
  projection_ = register_module("projection", linear(width, width));
  norm2_ = register_module("norm2", RmsNorm(width, options.norm_epsilon));
  gate_ = register_module("gate", linear(width, inner));
  up_ = register_module("up", linear(width, inner));
  down_ = register_module("down", linear(inner, width));
}

torch::Tensor LlamaBlockImpl::forward(torch::Tensor x, const torch::Tensor& turns) {
  x = x + attention(norm1_(x), turns);
  const auto normed = norm2_(x);
  return x + down_(torch::silu(gate_(normed)) * up_(normed));
}

torch::Tensor LlamaBlockImpl::attention(const torch::Tensor& x, const torch::Tensor& turns) {
  const auto batch = x.size(0), tokens = x.size(1), width = x.size(2);
  const auto heads = qkv_(x).view({batch, tokens, heads_ + 2 * kv_heads_, width / heads_});
  // Queries and keys lie side by side and are turned together.
  const auto parts = heads.split_with_sizes({heads_ + kv_heads_, kv_heads_}, 2);
  const auto turned = rotate(parts[0], turns).transpose(1, 2).split_with_sizes({heads_, kv_heads_}, 1);
  const auto mixed = at::scaled_dot_product_attention(turned[0], turned[1], parts[1].transpose(1, 2), {}, 0.0,
                                                      /*is_causal=*/true, {}, /*enable_gqa=*/kv_heads_ != heads_);
  return projection_(mixed.transpose(1, 2).reshape({batch, tokens, width}));
}

LlamaImpl::LlamaImpl(const LlamaOptions& options) : options_(options) {
  TORCH_CHECK(options.hidden % (2 * options.heads) == 0, "hidden (", options.hidden,
              ") must be a multiple of 2 * heads (heads is ", options.heads, ")");
  TORCH_CHECK(options.heads % options.kv_heads == 0, "heads (", options.heads, ") must be a multiple of kv_heads (",
              options.kv_heads, ")");
  tokens_ = register_module("tokens", torch::nn::Embedding(options.vocabulary, options.hidden));
  for (std::int64_t i = 0; i < options.layers; ++i)
    blocks_.emplace_back(register_module("block" + std::to_string(i), LlamaBlock(options)));
  norm_ = register_module("norm", RmsNorm(options.hidden, options.norm_epsilon));
  head_ = register_module("head", linear(options.hidden, options.vocabulary));
  initialize();
}

// Normal weights; those of the norms stay 1.
void LlamaImpl::initialize() {
  const torch::NoGradGuard no_grad;
  for (auto& item : named_parameters())
    if (item.key().find("norm") == std::string::npos) item.value().normal_(0, kInitStd);
}

torch::Tensor LlamaImpl::forward(const torch::Tensor& ids) {
  const auto turns = rotary_turns(ids.size(1), options_.hidden / options_.heads, options_.rope_theta, ids.device());
  auto x = tokens_(ids);
  for (const auto& block : blocks_)
    x = run([block, turns](torch::Tensor input) { return block.ptr()->forward(std::move(input), turns); }, x);
  return head_(norm_(x));
}

}  // namespace asterias::models
