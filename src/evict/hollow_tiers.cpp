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
  Transfer(SimulatedClock& clock, std::uint64_t end_ns) : clock_(clock), end_ns_(end_ns) {}
  void hurry() noexcept override { clock_.wait_until(std::max(clock_.now_ns_, end_ns_)); }
  device::Ticket::Promise& promise() { return promise_; }

 private:
  SimulatedClock& clock_;
  const std::uint64_t end_ns_;
  device::Ticket::Promise promise_;
};

device::Ticket SimulatedClock::transfer(Edge edge, std::uint64_t bytes) {
  const std::uint64_t end_ns = lanes_.start(edge, bytes, now_ns_);
  const auto transfer = std::make_shared<Transfer>(*this, end_ns);
  transfer->promise().tell_when_awaited(transfer);
  auto ticket = transfer->promise().ticket();
  if (end_ns <= now_ns_)
    transfer->promise().complete();
  else
    in_flight_.emplace(end_ns, transfer);
  return ticket;
}

void SimulatedClock::wait_until(std::uint64_t ns) {
  now_ns_ = ns;
  while (!in_flight_.empty() && in_flight_.begin()->first <= now_ns_) {
    const auto transfer = std::move(in_flight_.begin()->second);
    in_flight_.erase(in_flight_.begin());
    transfer->promise().complete();
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
