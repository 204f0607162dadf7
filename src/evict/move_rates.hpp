// How fast bytes move between tiers, as far as it is declared or has been measured.
//
// Threading: thread-compatible. Units: bytes, nanoseconds.
#pragma once

#include <array>
#include <cstdint>

#include "evict/edge.hpp"

namespace asterias::evict {

struct EdgeRate {
  double bytes_per_second = 0;   // 0: moves take no time
  std::uint64_t latency_ns = 0;  // delays an arrival and blocks nobody
};

struct MoveRates {
  std::array<EdgeRate, kNumEdges> edges{};
  bool drive_is_shared = true;  // a read waits for the writes before it, and the other way round

  EdgeRate& of(Edge edge) { return edges[static_cast<std::size_t>(edge)]; }
  const EdgeRate& of(Edge edge) const { return edges[static_cast<std::size_t>(edge)]; }
};

// How long `bytes` keep an edge busy.
std::uint64_t transfer_ns(const EdgeRate& rate, std::uint64_t bytes);

}  // namespace asterias::evict
