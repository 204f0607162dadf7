#include "models/rotary.hpp"

#include <cmath>

namespace asterias::models {

// In double: in fp32 an angle of 100000 would be off by 0.004.
torch::Tensor rotary_turns(std::int64_t tokens, std::int64_t width, double theta, torch::Device device) {
  const auto options = torch::TensorOptions(torch::kDouble).device(device);
  const auto frequencies =
      (torch::arange(0, width, 2, options) * (-std::log(theta) / static_cast<double>(width))).exp();
  const auto angles = torch::outer(torch::arange(tokens, options), frequencies);
  return torch::polar(torch::ones_like(angles), angles).to(torch::kComplexFloat).unsqueeze(1);
}

torch::Tensor rotate(const torch::Tensor& heads, const torch::Tensor& turns) {
  const auto pairs = heads.to(torch::kFloat).unflatten(-1, {-1, 2});
  return torch::view_as_real(torch::view_as_complex(pairs) * turns).flatten(-2).to(heads.scalar_type());
}

}  // namespace asterias::models
