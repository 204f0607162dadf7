// What the models of text here have in common: token ids in, logits out, and blocks between that can be wrapped.
//
// Includes nothing of the runtime: the same classes train with and without it. Shapes: B batch, T tokens.
//
// Threading: as torch modules.
#pragma once

#include <functional>
#include <utility>

#include <torch/torch.h>

namespace asterias::models {

// One block of a stack: [B, T, D] -> [B, T, D].
using Block = std::function<torch::Tensor(torch::Tensor)>;

// Runs `block` on `x` as it likes, once or again in backward, and returns what it gave: asterias::checkpoint, for
// example.
using BlockWrapper = std::function<torch::Tensor(const Block& block, const torch::Tensor& x)>;

class LanguageModel : public torch::nn::Module {
 public:
  // Token ids [B, T] (int64, in [0, vocabulary)) -> logits [B, T, vocabulary]. Position t sees 0 ... t.
  virtual torch::Tensor forward(const torch::Tensor& ids) = 0;

  // Puts `wrapper` around every block from now on; an empty one takes it away.
  void wrap_blocks(BlockWrapper wrapper) { wrapper_ = std::move(wrapper); }

 protected:
  torch::Tensor run(const Block& block, const torch::Tensor& x) const {
    return wrapper_ ? wrapper_(block, x) : block(x);
  }

 private:
  BlockWrapper wrapper_;
};

// Mean cross entropy of logits [B, T, V] against the next tokens [B, T].
torch::Tensor next_token_loss(const torch::Tensor& logits, const torch::Tensor& targets);

}  // namespace asterias::models
