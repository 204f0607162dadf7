// How the learning rate goes over a run: warm-up, then constant, linear or cosine decay.
//
// Gives factors, not rates: every param group's own rate is multiplied by the same one, so a group that learns at half
// the rate does so all the time.
//
// Threading: immutable.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace asterias::tools {

enum class LrDecay : std::uint8_t { kConstant, kLinear, kCosine };

// Reads "constant", "linear", "cosine".
std::optional<LrDecay> find_lr_decay(std::string_view name);
std::string_view lr_decay_name(LrDecay decay);

class LrSchedule {
 public:
  // REQUIRES: 0 <= warmup_steps <= num_steps and 0 <= min_factor <= 1.
  LrSchedule(LrDecay decay, std::int64_t warmup_steps, std::int64_t num_steps, double min_factor)
      : decay_(decay), warmup_steps_(warmup_steps), num_steps_(num_steps), min_factor_(min_factor) {}

  // The factor of step 1 to num_steps. Rises from 1/warmup_steps to 1 at step warmup_steps, and falls from there to
  // min_factor at the last step; exactly 1 wherever nothing is to change.
  double factor(std::int64_t step) const;

 private:
  LrDecay decay_;
  std::int64_t warmup_steps_;
  std::int64_t num_steps_;
  double min_factor_;
};

}  // namespace asterias::tools
