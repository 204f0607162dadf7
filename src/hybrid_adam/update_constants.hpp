// What one optimizer step of one parameter needs besides its arrays: the algorithm, the user's hyper-parameters, and
// the float constants they fold to.
//
// Hyper-parameters stay in double until make_update_constants rounds each derived constant to float exactly once, so a
// chunk, a thread, a tier and a device that update parts of the same parameter all see the same constants.
// Not here: the element formula (adam_math.hpp) and the loops over memory (update_kernel.hpp).
//
// Threading: immutable values.
#pragma once

#include <cstdint>

namespace asterias::hybrid_adam {

// The update rule, each with the meaning that torch.optim gives it (no amsgrad, no maximize).
enum class Algorithm : std::uint8_t {
  kAdam,   // weight decay is L2: added to the gradient, so the moments see it
  kAdamW,  // weight decay is decoupled: scales the parameter before the step
  kSgd,    // momentum buffer in exp_avg, weight decay is L2
};

// One param group's settings, named and defaulted as in torch. Each algorithm ignores the others' fields.
struct HyperParameters {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double momentum = 0.0;   // kSgd; 0: exp_avg is neither read nor written
  double dampening = 0.0;  // kSgd
  bool nesterov = false;   // kSgd
};

// Everything that is constant over the elements of one parameter in one step. Made by make_update_constants only.
struct UpdateConstants {
  float grad_scale;  // multiplies the gradient first: unscale * clip

  // Adam and AdamW.
  float exp_avg_weight;  // 1 - beta1, or -beta1 where the mean is formed from the gradient's side
  float beta2;
  float one_minus_beta2;
  float scaled_eps;        // eps * sqrt(1 - beta2^step)
  float neg_step_size;     // -lr * sqrt(1 - beta2^step) / (1 - beta1^step)
  bool exp_avg_from_grad;  // beta1 < 0.5

  // SGD.
  float neg_lr;
  float momentum;
  float one_minus_dampening;

  // Weight decay: the first for Adam and SGD (L2), the second for AdamW (decoupled).
  float weight_decay;
  float neg_lr_weight_decay;

  bool has_weight_decay;  // false: the decay is skipped, not multiplied by zero (0 * inf, and the sign of -0)
  bool has_momentum;
  bool nesterov;
  bool first_step;  // kSgd: the momentum buffer starts as the gradient; what exp_avg held is not read

  friend bool operator==(const UpdateConstants&, const UpdateConstants&) = default;
};

// Folds `hyper` for a parameter that takes its `step`-th step (>= 1, counted per parameter: a parameter that had no
// gradient was not stepped). `grad_scale` multiplies each gradient element: the product, in double, of the inverse
// loss scale and the clip factor; 1 for neither. The caller's rounding mode does not matter. Throws StateError for
// step 0. Ranges of `hyper` are the configuration's business and are not checked here. Costs two pow and 0.2 us.
UpdateConstants make_update_constants(const HyperParameters& hyper, std::uint64_t step, double grad_scale = 1.0);

}  // namespace asterias::hybrid_adam
