// The ways between neighbouring tiers: each has a direction, bytes that went over it, and time spent waiting for it.
//
// Threading: plain values.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/tier.hpp"

namespace asterias::evict {

enum class Edge : std::uint8_t { kH2d, kD2h, kNvmeRead, kNvmeWrite };

inline constexpr int kNumEdges = 4;

// REQUIRES: neighbours, one of them gpu or nvme.
constexpr Edge edge_between(Tier from, Tier to) {
  if (from == Tier::kNvme) return Edge::kNvmeRead;
  if (to == Tier::kNvme) return Edge::kNvmeWrite;
  return from == Tier::kGpu ? Edge::kD2h : Edge::kH2d;
}

constexpr std::string_view edge_name(Edge edge) {
  constexpr std::string_view kNames[] = {"H2D", "D2H", "NVMe read", "NVMe write"};
  return kNames[static_cast<int>(edge)];
}

}  // namespace asterias::evict
