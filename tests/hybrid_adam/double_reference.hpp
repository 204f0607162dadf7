// The update in double precision, written from the papers and torch's documentation and not from the kernel, and how
// far a float result may be from it.
//
// The bound is 4 ulp of the largest term that enters a result; for the parameter the terms are itself and its update.
// It holds for every element whose update is at most half the parameter. Where the update is larger, the roundings that
// make it up (adam_math.hpp counts them) may all fall the same way: then 8 ulp, and beyond 4 in fewer than one of
// 20,000 elements, which torch's own kernels do not better. Accuracy counts both.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hybrid_adam/update_constants.hpp"

namespace asterias::hybrid_adam::testing {

// A value in double, and the magnitude of the largest term it was summed from (cancellation leaves the value small).
struct Term {
  double value = 0.0;
  double largest = 0.0;
};

struct State {
  Term param;
  Term exp_avg;
  Term exp_avg_sq;
  double update_largest = 0.0;  // the largest term of what is subtracted from the parameter
};

// The spacing of floats at magnitude `x`.
inline double float_ulp(double x) {
  return std::ldexp(1.0, std::ilogb(std::max(std::fabs(x), static_cast<double>(FLT_MIN))) - 23);
}

// Checks `got` against `want` within `ulps` of the largest term; `flush` allows for a tiny value stored as zero.
inline bool is_near(double got, const Term& want, double ulps, bool flush) {
  const double slack = ulps * float_ulp(std::max(want.largest, std::fabs(want.value))) + (flush ? FLT_MIN : 0.0);
  return std::fabs(got - want.value) <= slack;
}

inline State adam_step(Algorithm algorithm, const HyperParameters& h, std::uint64_t step, double grad_scale,
                       double param, double grad, double exp_avg, double exp_avg_sq) {
  const double decay = h.weight_decay * param;
  const double l2 = algorithm == Algorithm::kAdam ? decay : 0.0;
  const double g = grad * grad_scale + l2;
  const double g_largest = std::max(std::fabs(grad * grad_scale), std::fabs(l2));
  const double decayed = algorithm == Algorithm::kAdamW ? param - h.lr * decay : param;
  const double bias1 = 1.0 - std::pow(h.beta1, static_cast<double>(step));
  const double bias2 = 1.0 - std::pow(h.beta2, static_cast<double>(step));

  State next;
  next.exp_avg.value = h.beta1 * exp_avg + (1.0 - h.beta1) * g;
  next.exp_avg.largest = std::max(std::fabs(h.beta1 * exp_avg), (1.0 - h.beta1) * g_largest);
  next.exp_avg_sq.value = h.beta2 * exp_avg_sq + (1.0 - h.beta2) * g * g;
  next.exp_avg_sq.largest = std::max(h.beta2 * exp_avg_sq, (1.0 - h.beta2) * g_largest * g_largest);
  const double denominator = std::sqrt(next.exp_avg_sq.value) / std::sqrt(bias2) + h.eps;
  next.param.value = decayed - h.lr / bias1 * next.exp_avg.value / denominator;
  // What cancelled inside the moments enters the parameter enlarged by the same factor.
  const double v_cancelled = next.exp_avg_sq.value > 0 ? next.exp_avg_sq.largest / next.exp_avg_sq.value : 1.0;
  const double update_largest = h.lr / bias1 * next.exp_avg.largest / denominator * std::max(1.0, v_cancelled);
  next.update_largest = update_largest;
  next.param.largest = std::max(std::fabs(param), update_largest);
  return next;
}

inline State sgd_step(const HyperParameters& h, std::uint64_t step, double grad_scale, double param, double grad,
                      double exp_avg) {
  const double g = grad * grad_scale + h.weight_decay * param;
  const double g_largest = std::max(std::fabs(grad * grad_scale), std::fabs(h.weight_decay * param));
  State next;
  Term direction{g, g_largest};
  if (h.momentum != 0.0) {
    next.exp_avg = {g, g_largest};
    if (step > 1) {
      next.exp_avg.value = h.momentum * exp_avg + (1.0 - h.dampening) * g;
      next.exp_avg.largest = std::max(std::fabs(h.momentum * exp_avg), (1.0 - h.dampening) * g_largest);
    }
    direction = next.exp_avg;
    if (h.nesterov) {
      direction.value = g + h.momentum * next.exp_avg.value;
      direction.largest = std::max(g_largest, h.momentum * next.exp_avg.largest);
    }
  }
  next.param.value = param - h.lr * direction.value;
  next.update_largest = h.lr * direction.largest;
  next.param.largest = std::max(std::fabs(param), next.update_largest);
  return next;
}

inline State reference_step(Algorithm algorithm, const HyperParameters& h, std::uint64_t step, double grad_scale,
                            double param, double grad, double exp_avg, double exp_avg_sq) {
  if (algorithm == Algorithm::kSgd) return sgd_step(h, step, grad_scale, param, grad, exp_avg);
  return adam_step(algorithm, h, step, grad_scale, param, grad, exp_avg, exp_avg_sq);
}

// How many elements of a step were off, see the top of this file.
class Accuracy {
 public:
  // Grades one element's results against a step from a parameter of `param_before`.
  void grade(const State& want, double param_before, double param, double exp_avg, double exp_avg_sq) {
    const bool moments_near = is_near(exp_avg, want.exp_avg, 4, true) && is_near(exp_avg_sq, want.exp_avg_sq, 4, true);
    const bool within_4 = is_near(param, want.param, 4, false);
    const bool small_update = want.update_largest <= 0.5 * std::fabs(param_before);
    wrong_ += moments_near && (within_4 || (!small_update && is_near(param, want.param, 8, false))) ? 0 : 1;
    beyond_4_ += within_4 ? 0 : 1;
    ++elements_;
  }
  std::size_t wrong() const { return wrong_; }
  bool is_rarely_beyond_4() const { return beyond_4_ * 20000 <= elements_; }
  std::size_t beyond_4() const { return beyond_4_; }

 private:
  std::size_t wrong_ = 0, beyond_4_ = 0, elements_ = 0;
};

}  // namespace asterias::hybrid_adam::testing
