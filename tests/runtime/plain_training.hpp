// The oracle of the parity tests: plain libtorch, whole tensors in memory, the same update formula.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "runtime/config.hpp"

namespace asterias::test {

// Everything that must be equal bit for bit.
struct Outcome {
  std::vector<double> losses;  // and whatever else a case observes
  std::vector<std::pair<std::string, torch::Tensor>> state;
  std::uint64_t fingerprint = 0;  // of the same state, where a run makes one
};

inline bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const auto left = a.contiguous(), right = b.contiguous();
  return left.numel() == 0 || std::memcmp(left.const_data_ptr(), right.const_data_ptr(), left.nbytes()) == 0;
}

inline std::vector<std::pair<std::string, torch::Tensor>> copy_state(const torch::nn::Module& module) {
  std::vector<std::pair<std::string, torch::Tensor>> state;
  for (const auto& item : module.named_parameters()) state.emplace_back(item.key(), item.value().detach().clone());
  for (const auto& item : module.named_buffers()) state.emplace_back(item.key(), item.value().detach().clone());
  return state;
}

// Says what differs first; empty when nothing does.
inline std::string difference(const Outcome& want, const Outcome& got) {
  if (want.losses.size() != got.losses.size()) return "number of losses";
  for (std::size_t i = 0; i < want.losses.size(); ++i)
    if (std::memcmp(&want.losses[i], &got.losses[i], sizeof(double)) != 0)
      return "loss " + std::to_string(i) + ": " + std::to_string(want.losses[i]) + " against " +
             std::to_string(got.losses[i]);
  if (want.state.size() != got.state.size()) return "number of tensors";
  for (std::size_t i = 0; i < want.state.size(); ++i) {
    if (want.state[i].first != got.state[i].first)
      return "names: " + want.state[i].first + " against " + got.state[i].first;
    if (!same_bits(want.state[i].second, got.state[i].second)) return want.state[i].first;
  }
  if (want.fingerprint != got.fingerprint) return "fingerprint";
  return "";
}

inline hybrid_adam::Algorithm algorithm_of(OptimizerType type) {
  switch (type) {
    case OptimizerType::kAdam: return hybrid_adam::Algorithm::kAdam;
    case OptimizerType::kAdamW: return hybrid_adam::Algorithm::kAdamW;
    case OptimizerType::kSgd: return hybrid_adam::Algorithm::kSgd;
  }
  throw std::logic_error("no such type");
}

// What `params` mean, with torch's defaults for what they leave open.
inline hybrid_adam::HyperParameters hyper_of(OptimizerType type, const OptimizerParams& params) {
  hybrid_adam::HyperParameters hyper;
  hyper.lr = params.lr.value_or(1e-3);
  if (params.betas) std::tie(hyper.beta1, hyper.beta2) = std::pair(params.betas->at(0), params.betas->at(1));
  hyper.eps = params.eps.value_or(1e-8);
  hyper.weight_decay = params.weight_decay.value_or(type == OptimizerType::kAdamW ? 1e-2 : 0);
  hyper.momentum = params.momentum.value_or(0);
  hyper.dampening = params.dampening.value_or(0);
  hyper.nesterov = params.nesterov.value_or(false);
  return hyper;
}

// One step after another on plain tensors.
class PlainOptimizer {
 public:
  PlainOptimizer(std::vector<torch::Tensor> parameters, hybrid_adam::Algorithm algorithm,
                 hybrid_adam::HyperParameters hyper, double clip)
      : parameters_(std::move(parameters)), algorithm_(algorithm), hyper_(hyper), clip_(clip) {}

  void zero_grad(bool set_to_none = true) {
    for (auto& parameter : parameters_) {
      if (set_to_none)
        parameter.mutable_grad().reset();
      else if (parameter.grad().defined())
        parameter.mutable_grad().detach_().zero_();
    }
  }

  void step() {
    const torch::NoGradGuard no_grad;
    const double scale = clip_factor();
    for (auto& parameter : parameters_) {
      if (!parameter.grad().defined()) continue;
      auto& state = states_[parameter.unsafeGetTensorImpl()];
      if (state.steps++ == 0) {
        state.exp_avg = torch::zeros_like(parameter);
        state.exp_avg_sq = torch::zeros_like(parameter);
      }
      auto gradient = torch::empty_strided(parameter.sizes(), parameter.strides());
      gradient.copy_(parameter.grad());
      const auto constants = hybrid_adam::make_update_constants(hyper_of(parameter), state.steps, scale);
      hybrid_adam::update(algorithm_, constants,
                          {parameter.data_ptr<float>(), gradient.data_ptr<float>(), state.exp_avg.data_ptr<float>(),
                           state.exp_avg_sq.data_ptr<float>(), static_cast<std::size_t>(parameter.numel())});
    }
  }

  hybrid_adam::HyperParameters& hyper() { return hyper_; }
  // Gives one parameter its own, as a param group does.
  void set_hyper(const torch::Tensor& parameter, const hybrid_adam::HyperParameters& hyper) {
    own_hyper_[parameter.unsafeGetTensorImpl()] = hyper;
  }

 private:
  struct State {
    std::uint64_t steps = 0;
    torch::Tensor exp_avg, exp_avg_sq;
  };

  const hybrid_adam::HyperParameters& hyper_of(const torch::Tensor& parameter) const {
    const auto own = own_hyper_.find(parameter.unsafeGetTensorImpl());
    return own == own_hyper_.end() ? hyper_ : own->second;
  }

  double clip_factor() {
    if (clip_ <= 0) return 1;
    double sum = 0;
    for (const auto& parameter : parameters_) {
      if (!parameter.grad().defined()) continue;
      const auto& gradient = parameter.grad();
      const auto dense = gradient.is_non_overlapping_and_dense() ? gradient : gradient.contiguous();
      sum += hybrid_adam::sum_of_squares(dense.const_data_ptr<float>(), static_cast<std::size_t>(dense.numel()));
    }
    return std::min(1.0, clip_ / (std::sqrt(sum) + 1e-6));
  }

  std::vector<torch::Tensor> parameters_;
  hybrid_adam::Algorithm algorithm_;
  hybrid_adam::HyperParameters hyper_;
  std::unordered_map<const c10::TensorImpl*, hybrid_adam::HyperParameters> own_hyper_;
  double clip_;
  std::unordered_map<const c10::TensorImpl*, State> states_;
};

// Distinct trainable parameters in the order of names.
inline std::vector<torch::Tensor> trainable(const torch::nn::Module& module) {
  std::vector<torch::Tensor> result;
  for (const auto& parameter : module.parameters()) {
    bool seen = !parameter.requires_grad();
    for (const auto& earlier : result) seen |= earlier.is_same(parameter);
    if (!seen) result.push_back(parameter);
  }
  return result;
}

}  // namespace asterias::test
