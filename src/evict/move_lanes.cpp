#include "evict/move_lanes.hpp"

#include <algorithm>
#include <cmath>

namespace asterias::evict {

std::uint64_t transfer_ns(const EdgeRate& rate, std::uint64_t bytes) {
  if (rate.bytes_per_second <= 0) return 0;
  return static_cast<std::uint64_t>(std::llround(static_cast<double>(bytes) / rate.bytes_per_second * 1e9));
}

std::uint64_t& MoveLanes::free_at(Edge edge) {
  const bool shares = rates_.drive_is_shared && edge == Edge::kNvmeWrite;
  return free_at_ns_[static_cast<std::size_t>(shares ? Edge::kNvmeRead : edge)];
}

std::uint64_t MoveLanes::start(Edge edge, std::uint64_t bytes, std::uint64_t now_ns) {
  const EdgeRate& rate = rates_.of(edge);
  auto& free = free_at(edge);
  free = std::max(free, now_ns) + transfer_ns(rate, bytes);
  return free + rate.latency_ns;
}

}  // namespace asterias::evict
