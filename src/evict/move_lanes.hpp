// The ways between tiers as the simulator sees them: moves over one way go one after another, each at its rate.
//
// Knows sizes and times, no residents. Reads and writes of one drive may be one way, as they are for most drives.
//
// Invariants
//   * A way is busy exactly as long as its bytes take at its rate; latency delays an arrival and blocks nobody.
//   * Without a rate and a latency a move ends when it starts.
//
// Threading: thread-compatible. Units: bytes, nanoseconds since the simulation began.
#pragma once

#include <array>
#include <cstdint>

#include "evict/edge.hpp"

namespace asterias::evict {

struct EdgeRate {
  double bytes_per_second = 0;  // 0: moves take no time
  std::uint64_t latency_ns = 0;
};

struct MoveRates {
  std::array<EdgeRate, kNumEdges> edges{};
  bool drive_is_shared = true;  // a read waits for the writes before it, and the other way round

  EdgeRate& of(Edge edge) { return edges[static_cast<std::size_t>(edge)]; }
  const EdgeRate& of(Edge edge) const { return edges[static_cast<std::size_t>(edge)]; }
};

class MoveLanes {
 public:
  explicit MoveLanes(const MoveRates& rates) : rates_(rates) {}

  // Queues a move that is asked for at `now_ns`; returns when its bytes are there.
  std::uint64_t start(Edge edge, std::uint64_t bytes, std::uint64_t now_ns);

 private:
  std::uint64_t& free_at(Edge edge);

  const MoveRates rates_;
  std::array<std::uint64_t, kNumEdges> free_at_ns_{};
};

// How long `bytes` keep an edge busy.
std::uint64_t transfer_ns(const EdgeRate& rate, std::uint64_t bytes);

}  // namespace asterias::evict
