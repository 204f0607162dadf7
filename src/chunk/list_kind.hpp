// The lists of model data. Lists mirror each other: one element offset addresses a parameter in all of them.
#pragma once

#include <cstdint>
#include <string_view>

namespace asterias::chunk {

// kMaster is absent where the parameter is fp32 and its own master. SGD keeps its momentum buffer in kExpAvg.
enum class ListKind : std::uint8_t { kParam, kGrad, kMaster, kExpAvg, kExpAvgSq };

inline constexpr int kNumListKinds = 5;

constexpr std::string_view list_kind_name(ListKind kind) {
  constexpr std::string_view kNames[] = {"param", "grad", "master", "exp_avg", "exp_avg_sq"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace asterias::chunk
