// DeepSpeed's dynamic loss scale, written down line by line from deepspeed/runtime/fp16/loss_scaler.py of 0.19.6
// (commit edaa722): what ours must do.
#pragma once

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "runtime/config.hpp"

namespace asterias::test {

struct DeepSpeedScaler {
  explicit DeepSpeedScaler(const Fp16Config& config)
      : cur_scale(config.loss_scale != 0 ? config.loss_scale : std::pow(2.0, config.initial_scale_power)),
        dynamic(config.loss_scale == 0),
        scale_window(config.loss_scale_window),
        delayed_shift(config.hysteresis),
        cur_hysteresis(config.hysteresis),
        consecutive_hysteresis(config.consecutive_hysteresis),
        min_scale(config.min_loss_scale) {}

  void update_scale(bool overflow) {
    if (!dynamic) return;
    if (overflow) {
      if (delayed_shift == 1 || cur_hysteresis == 1) {
        if (cur_scale == min_scale) throw std::runtime_error("already at minimum");
        cur_scale = std::max(cur_scale / 2.0, min_scale);
      } else {
        cur_hysteresis -= 1;
      }
      last_overflow_iter = cur_iter;
    } else {
      if (consecutive_hysteresis) cur_hysteresis = delayed_shift;
      const int stable_interval = (cur_iter - last_overflow_iter) - 1;
      if (stable_interval > 0 && stable_interval % scale_window == 0) {
        if (!consecutive_hysteresis) cur_hysteresis = delayed_shift;
        cur_scale *= 2.0;
      }
    }
    cur_iter += 1;
  }

  double cur_scale;
  bool dynamic;
  int scale_window, delayed_shift, cur_hysteresis;
  bool consecutive_hysteresis;
  double min_scale;
  int cur_iter = 0, last_overflow_iter = -1;
};

}  // namespace asterias::test
