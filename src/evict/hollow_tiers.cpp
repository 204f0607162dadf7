#include "evict/hollow_tiers.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace asterias::evict {
namespace {

class HollowQueue final : public device::CopyQueue {
 public:
  HollowQueue(std::shared_ptr<SimulatedClock> clock, Edge edge) : clock_(std::move(clock)), edge_(edge) {}
  device::Ticket copy(std::byte*, const std::byte*, std::size_t bytes) override {
    return clock_->transfer(edge_, bytes);
  }

 private:
  const std::shared_ptr<SimulatedClock> clock_;
  const Edge edge_;
};

class HollowFile final : public device::BlockFile {
 public:
  explicit HollowFile(std::shared_ptr<SimulatedClock> clock) : clock_(std::move(clock)) {}
  device::Ticket read(std::uint64_t, std::span<std::byte> into) override {
    return clock_->transfer(Edge::kNvmeRead, into.size());
  }
  device::Ticket write(std::uint64_t, std::span<const std::byte> from) override {
    return clock_->transfer(Edge::kNvmeWrite, from.size());
  }
  void grow(std::uint64_t) override {}
  const std::string& path() const override { return path_; }

 private:
  const std::shared_ptr<SimulatedClock> clock_;
  const std::string path_ = "a simulated drive";
};

std::unique_ptr<chunk::SwapSpace> make_swap(const SimulatedTiers& tiers, const std::shared_ptr<SimulatedClock>& clock) {
  std::vector<std::unique_ptr<device::BlockFile>> files;
  files.push_back(std::make_unique<HollowFile>(clock));
  return std::make_unique<chunk::SwapSpace>(std::move(files), tiers.room[static_cast<std::size_t>(Tier::kNvme)]);
}

}  // namespace

class SimulatedClock::Transfer final : public device::Ticket::Queued {
 public:
  Transfer(SimulatedClock& clock, Lane& lane, std::uint64_t left_ns, std::uint64_t latency_ns)
      : left_ns(left_ns), latency_ns(latency_ns), clock_(clock), lane_(lane) {}
  void hurry() noexcept override { lane_.hurry(*this); }
  bool pass_time() noexcept override {
    clock_.pass_to_next_end();
    return true;
  }

  std::uint64_t left_ns;  // of its time on the way
  const std::uint64_t latency_ns;
  Lane::Place place;
  device::Ticket::Promise promise;

 private:
  SimulatedClock& clock_;
  Lane& lane_;
};

SimulatedClock::Lane& SimulatedClock::lane_of(Edge edge) {
  const bool shares = rates_.drive_is_shared && edge == Edge::kNvmeWrite;
  return lanes_[static_cast<std::size_t>(shares ? Edge::kNvmeRead : edge)];
}

device::Ticket SimulatedClock::transfer(Edge edge, std::uint64_t bytes) {
  Lane& lane = lane_of(edge);
  const EdgeRate& rate = rates_.of(edge);
  const auto transfer = std::make_shared<Transfer>(*this, lane, transfer_ns(rate, bytes), rate.latency_ns);
  transfer->promise.tell_when_awaited(transfer);
  auto ticket = transfer->promise.ticket();
  lane.push_back(transfer);
  wait_until(now_ns_);
  return ticket;
}

void SimulatedClock::pass_to_next_end() {
  std::uint64_t next_ns = arriving_.empty() ? UINT64_MAX : arriving_.begin()->first;
  for (const Lane& lane : lanes_)
    if (!lane.empty()) next_ns = std::min(next_ns, now_ns_ + lane.front()->left_ns);
  if (next_ns != UINT64_MAX) wait_until(next_ns);
}

void SimulatedClock::wait_until(std::uint64_t ns) {
  for (Lane& lane : lanes_) serve(lane, ns);
  now_ns_ = ns;
  while (!arriving_.empty() && arriving_.begin()->first <= ns) {
    const auto transfer = std::move(arriving_.begin()->second);
    arriving_.erase(arriving_.begin());
    transfer->promise.complete();
  }
}

void SimulatedClock::serve(Lane& lane, std::uint64_t until_ns) {
  std::uint64_t at_ns = now_ns_;
  while (!lane.empty()) {
    const auto transfer = lane.front();
    const std::uint64_t served_ns = std::min(transfer->left_ns, until_ns - at_ns);
    transfer->left_ns -= served_ns;
    at_ns += served_ns;
    if (transfer->left_ns > 0) return;
    lane.erase(*transfer);
    arriving_.emplace(at_ns + transfer->latency_ns, transfer);
  }
}

chunk::Hierarchy make_hollow_tiers(const SimulatedTiers& tiers, const std::shared_ptr<SimulatedClock>& clock) {
  const auto has = [&](Tier tier) {
    return std::find(tiers.levels.begin(), tiers.levels.end(), tier) != tiers.levels.end();
  };
  const auto pool = [&](Tier tier) {
    return has(tier) ? chunk::TierPool::create_hollow(tier, tiers.room[static_cast<std::size_t>(tier)]) : nullptr;
  };
  const auto queue = [&](Edge edge) { return has(Tier::kGpu) ? std::make_unique<HollowQueue>(clock, edge) : nullptr; };
  return {pool(Tier::kGpu),
          pool(Tier::kCpu),
          has(Tier::kNvme) ? make_swap(tiers, clock) : nullptr,
          queue(Edge::kH2d),
          queue(Edge::kD2h),
          [clock] {
            return chunk::Hierarchy::Clock::time_point(
                std::chrono::nanoseconds(static_cast<std::int64_t>(clock->now_ns())));
          }};
}

}  // namespace asterias::evict
