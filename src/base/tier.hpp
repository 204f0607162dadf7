// The places where bytes may live, fastest first.
#pragma once

#include <cstdint>
#include <string_view>

namespace asterias {

// `kGpu` is the compute tier of an accelerator, real or simulated; a CPU-only run computes on `kCpu`.
enum class Tier : std::uint8_t { kGpu, kCpu, kNvme };

inline constexpr int kNumTiers = 3;

// Names the tier as the configuration does: "gpu", "cpu", "nvme".
constexpr std::string_view tier_name(Tier tier) {
  switch (tier) {
    case Tier::kGpu: return "gpu";
    case Tier::kCpu: return "cpu";
    case Tier::kNvme: return "nvme";
  }
  return "?";
}

}  // namespace asterias
