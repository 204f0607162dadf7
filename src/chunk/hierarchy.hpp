// The tiers of one process, fastest first, and how bytes get from one to the next.
//
// A CPU-only run has [cpu] or [cpu, nvme]; an accelerator, real or simulated, puts gpu in front. Bytes move between
// neighbours only: what goes from the drive to the accelerator passes through a block of the cpu tier, which is
// therefore counted.
//
// Threading: set up once, then read-only; the pools, the swap space and the streams are thread-safe themselves.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/tier.hpp"
#include "chunk/swap_space.hpp"
#include "chunk/tier_pool.hpp"
#include "device/copy_queue.hpp"

namespace asterias::chunk {

class Hierarchy {
 public:
  using Clock = device::Ticket::Clock;

  // `gpu` and `swap` may be null; `cpu` may not. A `gpu` in one piece brings its accelerator's queues, another comes
  // with both. `now` is what waiting is measured by.
  Hierarchy(std::shared_ptr<TierPool> gpu, std::shared_ptr<TierPool> cpu, std::unique_ptr<SwapSpace> swap,
            std::unique_ptr<device::CopyQueue> h2d = nullptr, std::unique_ptr<device::CopyQueue> d2h = nullptr,
            std::function<Clock::time_point()> now = Clock::now);

  bool has(Tier tier) const;
  Tier compute_tier() const { return levels_.front(); }
  const std::vector<Tier>& levels() const { return levels_; }  // fastest first

  // Returns the next slower tier; REQUIRES: has_below(tier).
  bool has_below(Tier tier) const { return tier != levels_.back(); }
  Tier below(Tier tier) const;

  // REQUIRES: a memory tier that is there.
  TierPool& pool(Tier tier) const { return *pools_[static_cast<int>(tier)]; }
  std::shared_ptr<TierPool> shared_pool(Tier tier) const { return pools_[static_cast<int>(tier)]; }
  // REQUIRES: has(Tier::kNvme).
  SwapSpace& swap() const { return *swap_; }

  // REQUIRES: a tier that is there. UINT64_MAX: none.
  std::uint64_t limit_bytes(Tier tier) const;

  // Says whether the host may read and write the bytes of a memory tier itself.
  bool is_host(Tier tier) const;
  // The fastest tier whose bytes the host may read and write.
  Tier host_tier() const { return is_host(compute_tier()) ? compute_tier() : Tier::kCpu; }

  // Copies plain host memory into a tier's, out of it, or between two places of one tier; in the order of what is
  // computed. The first two have ended when they return.
  void copy_in(Tier tier, std::byte* to, const std::byte* from, std::uint64_t bytes) const;
  void copy_out(Tier tier, std::byte* to, const std::byte* from, std::uint64_t bytes) const;
  void copy_within(Tier tier, std::byte* to, const std::byte* from, std::uint64_t bytes) const;

  // Starts a copy between two neighbouring memory tiers; the block on the cpu tier is pinned from then on, where its
  // pool does that. On an accelerator it comes after the last use of the block there, and of who had its memory before,
  // and after no more.
  MoveTicket copy(Tier from, Block& to, Block& source, std::uint64_t bytes) const;

  // Has what is computed from now on come after `move`, without waiting for it here. False, without effect, where only
  // the host can wait for it.
  bool follow(const MoveTicket& move) const;

  // Marks the end of what has been enqueued for the compute stream so far: what uses end with (Block::end_use). Empty
  // where that could not be had.
  std::optional<device::SharedPoint> end_of_uses() const noexcept;

  Clock::time_point now() const { return now_(); }

 private:
  std::vector<Tier> levels_;
  std::array<std::shared_ptr<TierPool>, 2> pools_;
  std::unique_ptr<SwapSpace> swap_;
  std::unique_ptr<device::CopyQueue> h2d_;
  std::unique_ptr<device::CopyQueue> d2h_;
  std::function<Clock::time_point()> now_;
};

}  // namespace asterias::chunk
