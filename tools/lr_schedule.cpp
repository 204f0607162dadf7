#include "tools/lr_schedule.hpp"

#include <cmath>
#include <numbers>
#include <utility>

namespace asterias::tools {
namespace {

constexpr std::pair<LrDecay, std::string_view> kNames[] = {
    {LrDecay::kConstant, "constant"}, {LrDecay::kLinear, "linear"}, {LrDecay::kCosine, "cosine"}};

}  // namespace

std::optional<LrDecay> find_lr_decay(std::string_view name) {
  for (const auto& [decay, its_name] : kNames)
    if (its_name == name) return decay;
  return std::nullopt;
}

std::string_view lr_decay_name(LrDecay decay) {
  for (const auto& [its_decay, name] : kNames)
    if (its_decay == decay) return name;
  return "?";
}

double LrSchedule::factor(std::int64_t step) const {
  if (step < warmup_steps_) return static_cast<double>(step) / static_cast<double>(warmup_steps_);
  if (decay_ == LrDecay::kConstant || step == warmup_steps_) return 1;
  const double progress =
      static_cast<double>(step - warmup_steps_) / static_cast<double>(num_steps_ - warmup_steps_);  // in (0, 1]
  const double left = decay_ == LrDecay::kLinear ? 1 - progress : (1 + std::cos(std::numbers::pi * progress)) / 2;
  return min_factor_ + (1 - min_factor_) * left;
}

}  // namespace asterias::tools
