// The factor on the loss that keeps fp16 gradients above the smallest numbers and below the largest.
//
// DeepSpeed's rules, step for step (deepspeed/runtime/fp16/loss_scaler.py of 0.19.6, unchanged since 0.17.1): an
// overflow skips the step, and the `hysteresis`-th one halves the scale, as does every later one. Of the steps without
// overflow since the last one, or since the start, number loss_scale_window + 1 doubles it, as does every
// loss_scale_window-th after that, and `hysteresis` begins anew. (Before 0.17.1 DeepSpeed doubled one step sooner.)
// A fixed scale never changes. Without fp16 the scale is 1 and nothing overflows. Knows no gradients: the optimizer
// finds the overflow and skips.
//
// Threading: thread-compatible.
#pragma once

#include <cstdint>

#include "runtime/config.hpp"

namespace asterias::runtime {

class LossScaler {
 public:
  explicit LossScaler(const Fp16Config& config);

  // True in fp16: losses are scaled and overflows looked for, also at a fixed scale of 1.
  bool is_active() const { return config_.enabled; }
  double scale() const { return scale_; }
  std::int64_t num_skipped() const { return num_skipped_; }

  // True when an overflow would have to shrink a scale that is the smallest allowed, or a smaller one.
  bool is_exhausted() const;

  // Counts a step, `overflowed` or not, and chooses the next one's scale. REQUIRES after an overflow: !is_exhausted().
  void count_step(bool overflowed);

 private:
  bool is_dynamic() const { return config_.enabled && config_.loss_scale == 0; }
  bool shrinks_at_overflow() const { return config_.hysteresis == 1 || hysteresis_left_ == 1; }
  void count_overflow();
  void count_success();

  Fp16Config config_;
  double scale_;
  int hysteresis_left_;
  std::int64_t step_ = 0;
  std::int64_t last_overflow_ = -1;
  std::int64_t num_skipped_ = 0;
};

}  // namespace asterias::runtime
