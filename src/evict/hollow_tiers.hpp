// Tiers without bytes, and a clock that only work and waiting move: what the simulator gives a Residency to play on.
//
// Pools and swap space count as real ones do. A transfer is a time at which it will have ended: nothing is copied, and
// who waits for one moves the clock there.
//
// Invariants
//   * A ticket is done exactly when now() has reached its end.
//   * Transfers over one edge go one after another, each at its rate: first what is waited for, then in the order of
//     submission. Latency delays an end and blocks nobody.
//
// Threading: thread-compatible, together with the Residency that uses the tiers. Units: nanoseconds, bytes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "chunk/hierarchy.hpp"
#include "device/awaited_first.hpp"
#include "evict/move_rates.hpp"
#include "evict/simulator.hpp"

namespace asterias::evict {

class SimulatedClock {
 public:
  explicit SimulatedClock(const MoveRates& rates) : rates_(rates) {}
  SimulatedClock(const SimulatedClock&) = delete;
  SimulatedClock& operator=(const SimulatedClock&) = delete;
  ~SimulatedClock() { wait_until(UINT64_MAX); }

  std::uint64_t now_ns() const { return now_ns_; }
  void work(std::uint64_t ns) { wait_until(now_ns_ + ns); }
  // Starts a transfer; whoever waits for its ticket moves the clock to its end.
  device::Ticket transfer(Edge edge, std::uint64_t bytes);

 private:
  class Transfer;
  using Lane = device::AwaitedFirst<Transfer>;

  Lane& lane_of(Edge edge);
  void serve(Lane& lane, std::uint64_t until_ns);
  void pass_to_next_end();
  void wait_until(std::uint64_t ns);

  const MoveRates rates_;
  std::array<Lane, kNumEdges> lanes_;
  std::uint64_t now_ns_ = 0;
  std::multimap<std::uint64_t, std::shared_ptr<Transfer>> arriving_;  // by their ends
};

// The tiers that `tiers` describes, on this clock.
chunk::Hierarchy make_hollow_tiers(const SimulatedTiers& tiers, const std::shared_ptr<SimulatedClock>& clock);

}  // namespace asterias::evict
