// Configurations of the runtime's tests: which tiers, how small, with which swap folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <asterias/asterias.h>

namespace asterias::test {

inline constexpr std::uint64_t kAmple = std::uint64_t{1} << 40;

// A folder for swap files on a real disk: the working directory is the build folder.
inline std::string swap_folder(const std::string& name = "swap") {
  const auto folder = std::filesystem::current_path() / name;
  std::filesystem::create_directories(folder);
  return folder.string();
}

// AdamW on the CPU alone, without limits.
inline EngineConfig adamw_config() {
  EngineConfig config;
  config.optimizer.type = OptimizerType::kAdamW;
  config.optimizer.params.lr = 1e-2;
  config.optimizer.params.weight_decay = 0.01;
  config.cpu.threads = 2;
  return config;
}

// The same in 16 bits with fp32 masters.
inline EngineConfig bf16_config() {
  auto config = adamw_config();
  config.bf16.enabled = true;
  return config;
}

inline EngineConfig fp16_config(int initial_scale_power = 8) {
  auto config = adamw_config();
  config.fp16.enabled = true;
  config.fp16.initial_scale_power = initial_scale_power;
  return config;
}

// A configuration on a simulated accelerator with DRAM and NVMe below. Poison shows every use of what was freed or
// moved.
inline EngineConfig simulated(EngineConfig config, std::uint64_t gpu_bytes, bool poison = true) {
  config.device = "simulated";
  config.tiers.gpu.limit.bytes = gpu_bytes;
  config.tiers.nvme.paths = {swap_folder()};
  config.debug.poison = poison;
  return config;
}

inline const Plan::TierPlan& tier_plan(const Plan& plan, Tier tier) {
  for (const auto& entry : plan.tiers)
    if (entry.tier == tier) return entry;
  throw std::logic_error("no such tier");
}

// The budget for a compute tier: a share of the model data, never less than the largest operator needs.
inline std::uint64_t tight_bytes(const Plan& plan, std::uint64_t percent = 12) {
  return std::max(tier_plan(plan, Tier::kGpu).working_set_bytes, plan.model_data_bytes * percent / 100);
}

}  // namespace asterias::test
