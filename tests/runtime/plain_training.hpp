// The oracle of the parity tests: plain libtorch, whole tensors in memory, the same update formula.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "base/byte_size.hpp"
#include "deepspeed_scaler.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "runtime/config.hpp"
#include "runtime/name_pattern.hpp"
#include "runtime/precision.hpp"

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
  for (const auto& item : module.named_parameters())
    state.emplace_back(item.key(), item.value().detach().cpu().clone());
  for (const auto& item : module.named_buffers()) state.emplace_back(item.key(), item.value().detach().cpu().clone());
  return state;
}

// Every parameter in fp32 and as the module has it, and every buffer. `value_of(name, parameter)` is the fp32 one.
template <class ValueOf>
std::vector<std::pair<std::string, torch::Tensor>> full_state(const torch::nn::Module& module,
                                                              const ValueOf& value_of) {
  std::vector<std::pair<std::string, torch::Tensor>> state;
  for (const auto& item : module.named_parameters()) {
    state.emplace_back(item.key(), value_of(item.key(), item.value()));
    if (item.value().scalar_type() != torch::kFloat)
      state.emplace_back("the module's own " + item.key(), item.value().detach().cpu().clone());
  }
  for (const auto& item : module.named_buffers()) state.emplace_back(item.key(), item.value().detach().cpu().clone());
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

inline bool is_16_bit(const torch::Tensor& tensor) {
  return tensor.scalar_type() == torch::kHalf || tensor.scalar_type() == torch::kBFloat16;
}

// The 16-bit type that the configuration asks for; fp32 where it asks for none.
inline torch::ScalarType half_of(const EngineConfig& config) {
  if (config.fp16.enabled) return torch::kHalf;
  return config.bf16.enabled ? torch::kBFloat16 : torch::kFloat;
}

// One step after another on plain tensors, in DRAM whatever the module's device: of 16-bit parameters on explicit fp32
// masters.
class PlainOptimizer {
 public:
  PlainOptimizer(std::vector<torch::Tensor> parameters, hybrid_adam::Algorithm algorithm,
                 hybrid_adam::HyperParameters hyper, double clip)
      : parameters_(std::move(parameters)), algorithm_(algorithm), hyper_(hyper), clip_(clip) {}

  // Casts the module as the configuration says; what was cast are the first masters.
  void use_precision(torch::nn::Module& module, const EngineConfig& config) {
    const torch::NoGradGuard no_grad;
    if (config.fp16.enabled) scaler_.emplace(config.fp16);
    for (auto& item : module.named_parameters()) {
      auto& parameter = item.value();
      const bool is_kept = runtime::matches_any(config.precision.keep_fp32, item.key());
      if (half_of(config) == torch::kFloat || is_kept || !parameter.is_floating_point()) continue;
      if (masters_.contains(parameter.unsafeGetTensorImpl())) continue;  // its second name
      masters_[parameter.unsafeGetTensorImpl()] = parameter.detach().to(torch::kFloat).cpu().clone();
      parameter.set_data(parameter.to(half_of(config)));
    }
    if (config.data_types.grad_accum_dtype)
      for (auto& parameter : parameters_) parameter.set_grad_dtype(torch::kFloat);
  }

  // Stores moments as the configuration says, rounded with torch's seed as it is now.
  void use_state(const torch::nn::Module& module, const EngineConfig& config) {
    seed_ = at::detail::getDefaultCPUGenerator().current_seed();
    const auto& optimizer = config.optimizer;
    std::uint64_t number = 0;
    for (const auto& item : module.named_parameters()) {
      auto& state = states_[item.value().unsafeGetTensorImpl()];
      if (state.number) continue;  // its second name
      state.number = number++;
      auto dtype = optimizer.params.state_dtype;
      for (const auto& group : optimizer.param_groups)
        if (runtime::matches_any(group.match, item.key())) {
          if (group.params.state_dtype) dtype = group.params.state_dtype;
          break;
        }
      state.codec = runtime::state_codec(dtype.value_or(StateDtype::kFp32));
    }
  }

  // Scales the loss in fp16.
  void backward(const torch::Tensor& loss, const torch::Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) {
    if (!scaler_) return loss.backward(gradient, retain_graph, create_graph);
    const auto seed = gradient.defined() ? gradient : torch::ones_like(loss);
    loss.backward(seed * scaler_->cur_scale, retain_graph, create_graph);
  }

  double loss_scale() const { return scaler_ ? scaler_->cur_scale : 1; }
  bool skipped() const { return skipped_; }

  // The fp32 value of a parameter.
  torch::Tensor value(const torch::Tensor& parameter) {
    follow_writes();
    return parameter.requires_grad() && is_16_bit(parameter) ? master_of(parameter).clone()
                                                             : parameter.detach().to(torch::kFloat).cpu();
  }

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
    follow_writes();
    const double scale = clip_factor() / loss_scale();
    if (scaler_) {
      skipped_ = has_overflow();
      scaler_->update_scale(skipped_);
      if (skipped_) return;
    }
    for (auto& parameter : parameters_) {
      if (!parameter.grad().defined()) continue;
      auto& state = states_[parameter.unsafeGetTensorImpl()];
      if (state.steps++ == 0) {
        state.exp_avg = zero_moments(state.codec, parameter);
        state.exp_avg_sq = zero_moments(state.codec, parameter);
      }
      auto gradient = torch::empty_strided(parameter.sizes(), parameter.strides(), torch::kFloat);
      gradient.copy_(parameter.grad());
      auto master = is_16_bit(parameter) ? master_of(parameter) : parameter.detach().cpu();
      const auto constants = hybrid_adam::make_update_constants(hyper_of(parameter), state.steps, scale);
      hybrid_adam::UpdateArrays arrays{
          master.data_ptr<float>(), gradient.data_ptr<float>(), moments(state.codec, state.exp_avg, parameter),
          moments(state.codec, state.exp_avg_sq, parameter), static_cast<std::size_t>(parameter.numel())};
      arrays.rounding = hybrid_adam::make_rounding_key(seed_, state.steps, state.number.value_or(0));
      hybrid_adam::update(algorithm_, constants, arrays);
      if (is_16_bit(parameter) || !parameter.device().is_cpu()) parameter.copy_(master);
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
    std::optional<std::uint64_t> number = std::nullopt;  // among the module's parameters
    hybrid_adam::StateCodec codec = hybrid_adam::StateCodec::kFloat32;
    torch::Tensor exp_avg, exp_avg_sq;  // as bytes
  };

  // The elements of a list that holds one tensor's moments.
  static std::size_t list_elements(const torch::Tensor& parameter) {
    return round_up(static_cast<std::uint64_t>(parameter.numel()), hybrid_adam::kBlock8SlotElements);
  }

  static torch::Tensor zero_moments(hybrid_adam::StateCodec codec, const torch::Tensor& parameter) {
    const auto bytes = hybrid_adam::moment_list_bytes(codec, list_elements(parameter));
    return torch::zeros({static_cast<std::int64_t>(bytes)}, torch::kByte);
  }

  static hybrid_adam::MomentArray moments(hybrid_adam::StateCodec codec, const torch::Tensor& list,
                                          const torch::Tensor& parameter) {
    return hybrid_adam::moment_array(codec, list.data_ptr(), list_elements(parameter), 0);
  }

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
      const auto dense =
          (gradient.is_non_overlapping_and_dense() ? gradient : gradient.contiguous()).to(torch::kFloat).cpu();
      sum += hybrid_adam::sum_of_squares(dense.const_data_ptr<float>(), static_cast<std::size_t>(dense.numel()));
    }
    return std::min(1.0, clip_ / (std::sqrt(sum) / loss_scale() + 1e-6));
  }

  bool has_overflow() const {
    bool found = false;
    for (const auto& parameter : parameters_)
      if (parameter.grad().defined()) found |= !torch::isfinite(parameter.grad()).all().item<bool>();
    return found;
  }

  // A parameter that came in 16 bits is its own first master.
  torch::Tensor& master_of(const torch::Tensor& parameter) {
    auto& master = masters_[parameter.unsafeGetTensorImpl()];
    if (!master.defined()) master = parameter.detach().to(torch::kFloat).cpu();
    return master;
  }

  // What was written into a parameter by hand is its master's new value, where the two differ.
  void follow_writes() {
    const torch::NoGradGuard no_grad;
    for (const auto& parameter : parameters_) {
      if (!is_16_bit(parameter)) continue;
      auto& master = master_of(parameter);
      const auto now = parameter.detach().cpu();
      master.copy_(torch::where(master.to(now.scalar_type()) == now, master, now));
    }
  }

  std::vector<torch::Tensor> parameters_;
  hybrid_adam::Algorithm algorithm_;
  hybrid_adam::HyperParameters hyper_;
  std::unordered_map<const c10::TensorImpl*, hybrid_adam::HyperParameters> own_hyper_;
  double clip_;
  std::unordered_map<const c10::TensorImpl*, State> states_;
  std::unordered_map<const c10::TensorImpl*, torch::Tensor> masters_;
  std::uint64_t seed_ = 0;
  std::optional<DeepSpeedScaler> scaler_;
  bool skipped_ = false;
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
