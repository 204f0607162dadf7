// Inputs that the update tests share: owned arrays, every variant of the rules, random and special values.
#pragma once

#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "hybrid_adam/update_kernel.hpp"

namespace asterias::hybrid_adam::testing {

// Owned arrays of one length.
struct Arrays {
  std::vector<float> param, grad, exp_avg, exp_avg_sq;

  explicit Arrays(std::size_t count = 0) : param(count), grad(count), exp_avg(count), exp_avg_sq(count) {}
  std::size_t size() const { return param.size(); }
  UpdateArrays view() { return {param.data(), grad.data(), exp_avg.data(), exp_avg_sq.data(), size()}; }
};

struct Variant {
  std::string name;
  Algorithm algorithm;
  HyperParameters hyper;
  std::uint64_t step;
  double grad_scale;

  UpdateConstants constants() const { return make_update_constants(hyper, step, grad_scale); }
};

inline HyperParameters with(double weight_decay, double momentum = 0, double dampening = 0, bool nesterov = false) {
  HyperParameters hyper;
  hyper.weight_decay = weight_decay;
  hyper.momentum = momentum;
  hyper.dampening = dampening;
  hyper.nesterov = nesterov;
  return hyper;
}

// One of each code path of the rules, with first and later steps, eps 0, beta 0 and a gradient scale.
inline std::vector<Variant> all_variants() {
  HyperParameters eps_zero = with(0.01);
  eps_zero.eps = 0;
  HyperParameters beta_zero = with(0.0);
  beta_zero.beta1 = beta_zero.beta2 = 0;
  const double unscale_and_clip = 1.0 / 65536.0 * 0.37;
  return {
      {"adamw", Algorithm::kAdamW, with(0.01), 7, 1.0},
      {"adamw first step", Algorithm::kAdamW, with(0.1), 1, 1.0},
      {"adamw no decay", Algorithm::kAdamW, with(0), 100000, unscale_and_clip},
      {"adamw eps 0", Algorithm::kAdamW, eps_zero, 3, 1.0},
      {"adam", Algorithm::kAdam, with(0.01), 7, unscale_and_clip},
      {"adam no decay", Algorithm::kAdam, with(0), 2, 1.0},
      {"adam betas 0", Algorithm::kAdam, beta_zero, 2, 1.0},
      {"sgd", Algorithm::kSgd, with(0), 5, 1.0},
      {"sgd decay", Algorithm::kSgd, with(0.1), 5, 0.5},
      {"sgd momentum first step", Algorithm::kSgd, with(0.1, 0.9, 0.3), 1, 1.0},
      {"sgd momentum", Algorithm::kSgd, with(0.1, 0.9, 0.3), 2, 1.0},
      {"sgd nesterov first step", Algorithm::kSgd, with(0, 0.9, 0, true), 1, 1.0},
      {"sgd nesterov", Algorithm::kSgd, with(0.1, 0.9, 0, true), 9, 0.25},
      {"sgd momentum no decay", Algorithm::kSgd, with(0, 0.9), 9, 1.0},
  };
}

// Draws magnitudes evenly in the logarithm, so that small and large terms meet in every combination.
class LogUniform {
 public:
  explicit LogUniform(std::uint64_t seed) : engine_(seed) {}
  float magnitude(double from, double to) {
    std::uniform_real_distribution<double> exponent(std::log(from), std::log(to));
    return static_cast<float>(std::exp(exponent(engine_)));
  }
  float either_sign(double from, double to) { return (engine_() & 1 ? 1.0f : -1.0f) * magnitude(from, to); }

 private:
  std::mt19937_64 engine_;
};

// Plausible training values over a wide range.
inline Arrays random_arrays(std::size_t count, std::uint64_t seed) {
  Arrays arrays(count);
  LogUniform draw(seed);
  for (std::size_t i = 0; i < count; ++i) {
    arrays.param[i] = draw.either_sign(1e-5, 10);
    arrays.grad[i] = draw.either_sign(1e-9, 100);
    arrays.exp_avg[i] = draw.either_sign(1e-9, 100);
    arrays.exp_avg_sq[i] = draw.magnitude(1e-16, 1e4);
  }
  return arrays;
}

inline std::vector<float> special_values() {
  const float inf = std::numeric_limits<float>::infinity();
  return {0.0f,
          -0.0f,
          1.0f,
          -1.0f,
          FLT_TRUE_MIN,
          -FLT_TRUE_MIN,
          FLT_MIN / 2,
          std::nextafter(FLT_MIN, 0.0f),
          FLT_MIN,
          -FLT_MIN,
          1e-20f,
          3e-19f,
          1e19f,
          3e20f,
          FLT_MAX,
          -FLT_MAX,
          inf,
          -inf,
          std::numeric_limits<float>::quiet_NaN()};
}

// Every combination of special values over the four arrays.
inline Arrays special_arrays() {
  const std::vector<float> values = special_values();
  Arrays arrays;
  for (float p : values) {
    for (float g : values) {
      for (float m : values) {
        for (float v : values) {
          arrays.param.push_back(p);
          arrays.grad.push_back(g);
          arrays.exp_avg.push_back(m);
          arrays.exp_avg_sq.push_back(v);
        }
      }
    }
  }
  return arrays;
}

// Equal bits; NaNs are equal whatever their sign and payload.
inline bool same_bits(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

// Counts the elements in which two results differ.
inline std::size_t count_differences(const std::vector<float>& a, const std::vector<float>& b) {
  std::size_t differences = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) differences += same_bits(a[i], b[i]) ? 0 : 1;
  return differences;
}

inline std::size_t count_differences(const Arrays& a, const Arrays& b) {
  return count_differences(a.param, b.param) + count_differences(a.grad, b.grad) +
         count_differences(a.exp_avg, b.exp_avg) + count_differences(a.exp_avg_sq, b.exp_avg_sq);
}

}  // namespace asterias::hybrid_adam::testing
