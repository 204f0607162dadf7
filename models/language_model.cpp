#include "models/language_model.hpp"

namespace asterias::models {

torch::Tensor next_token_loss(const torch::Tensor& logits, const torch::Tensor& targets) {
  // In 16 bits a loss would have three digits, and the sum over the vocabulary fewer.
  const auto rows = logits.reshape({-1, logits.size(-1)}).to(torch::kFloat);
  return torch::nn::functional::cross_entropy(rows, targets.reshape({-1}));
}

}  // namespace asterias::models
