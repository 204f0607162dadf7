#include "runtime/loss_scaler.hpp"

#include <algorithm>
#include <cmath>

namespace asterias::runtime {
namespace {

constexpr double kFactor = 2;

double first_scale(const Fp16Config& config) {
  if (!config.enabled) return 1;
  return config.loss_scale != 0 ? config.loss_scale : std::ldexp(1.0, config.initial_scale_power);
}

}  // namespace

LossScaler::LossScaler(const Fp16Config& config)
    : config_(config), scale_(first_scale(config)), hysteresis_left_(config.hysteresis) {}

bool LossScaler::is_exhausted() const {
  return is_dynamic() && shrinks_at_overflow() && scale_ <= config_.min_loss_scale;
}

void LossScaler::count_step(bool overflowed) {
  num_skipped_ += overflowed ? 1 : 0;
  if (!is_dynamic()) return;
  if (overflowed)
    count_overflow();
  else
    count_success();
  ++step_;
}

void LossScaler::count_overflow() {
  if (shrinks_at_overflow())
    scale_ = std::max(scale_ / kFactor, config_.min_loss_scale);
  else
    --hysteresis_left_;
  last_overflow_ = step_;
}

void LossScaler::count_success() {
  if (config_.consecutive_hysteresis) hysteresis_left_ = config_.hysteresis;
  const std::int64_t stable = step_ - last_overflow_ - 1;
  if (stable <= 0 || stable % config_.loss_scale_window != 0) return;
  hysteresis_left_ = config_.hysteresis;
  scale_ *= kFactor;
}

}  // namespace asterias::runtime
