#include "hybrid_adam/update_constants.hpp"

#include <cmath>

#include "base/error.hpp"
#include "hybrid_adam/ieee_mode.hpp"

namespace asterias::hybrid_adam {
namespace {

// 1 - beta is formed in double and rounded on its own: 1.0f - 0.999f would be off by 1.3e-5 of itself, 200 ulp of the
// term that is all of exp_avg_sq in the first step. torch's fused kernel rounds the same two numbers.
// Not inlined, so that no arithmetic leaves the IeeeMode around the call.
[[gnu::noinline]] UpdateConstants fold(const HyperParameters& hyper, std::uint64_t step, double grad_scale) {
  const double steps = static_cast<double>(step);
  const double bias_correction1 = 1.0 - std::pow(hyper.beta1, steps);
  const double root_bias_correction2 = std::sqrt(1.0 - std::pow(hyper.beta2, steps));

  UpdateConstants constants{};
  constants.grad_scale = static_cast<float>(grad_scale);
  constants.exp_avg_from_grad = hyper.beta1 < 0.5;
  constants.exp_avg_weight = static_cast<float>(constants.exp_avg_from_grad ? -hyper.beta1 : 1.0 - hyper.beta1);
  constants.beta2 = static_cast<float>(hyper.beta2);
  constants.one_minus_beta2 = static_cast<float>(1.0 - hyper.beta2);
  constants.scaled_eps = static_cast<float>(hyper.eps * root_bias_correction2);
  constants.neg_step_size = static_cast<float>(-hyper.lr * root_bias_correction2 / bias_correction1);
  constants.neg_lr = static_cast<float>(-hyper.lr);
  constants.momentum = static_cast<float>(hyper.momentum);
  constants.one_minus_dampening = static_cast<float>(1.0 - hyper.dampening);
  constants.weight_decay = static_cast<float>(hyper.weight_decay);
  constants.neg_lr_weight_decay = static_cast<float>(-hyper.lr * hyper.weight_decay);
  constants.has_weight_decay = hyper.weight_decay != 0.0;
  constants.has_momentum = hyper.momentum != 0.0;
  constants.nesterov = hyper.nesterov;
  constants.first_step = step == 1;
  return constants;
}

}  // namespace

UpdateConstants make_update_constants(const HyperParameters& hyper, std::uint64_t step, double grad_scale) {
  if (step == 0) {
    throw StateError(StateError::Cause::kBug, "make_update_constants: steps are counted from 1, got step 0");
  }
  const IeeeMode mode;
  return fold(hyper, step, grad_scale);
}

}  // namespace asterias::hybrid_adam
