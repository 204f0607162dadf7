#include "chunk/hierarchy.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"

namespace asterias::chunk {
namespace {

// After all that has been enqueued; has ended when it returns.
void copy_now(device::Accelerator& accelerator, device::LinkQueue& link, std::byte* to, const std::byte* from,
              std::uint64_t bytes) {
  link.wait_for(accelerator.compute().point());
  link.copy(to, from, bytes).wait();
}

}  // namespace

Hierarchy::Hierarchy(std::shared_ptr<TierPool> gpu, std::shared_ptr<TierPool> cpu, std::unique_ptr<SwapSpace> swap,
                     std::unique_ptr<device::CopyQueue> h2d, std::unique_ptr<device::CopyQueue> d2h,
                     std::function<Clock::time_point()> now)
    : pools_{std::move(gpu), std::move(cpu)},
      swap_(std::move(swap)),
      h2d_(std::move(h2d)),
      d2h_(std::move(d2h)),
      now_(std::move(now)) {
  if (pools_[0]) levels_.push_back(Tier::kGpu);
  levels_.push_back(Tier::kCpu);
  if (swap_) levels_.push_back(Tier::kNvme);
}

bool Hierarchy::has(Tier tier) const { return std::find(levels_.begin(), levels_.end(), tier) != levels_.end(); }

Tier Hierarchy::below(Tier tier) const { return *std::next(std::find(levels_.begin(), levels_.end(), tier)); }

std::uint64_t Hierarchy::limit_bytes(Tier tier) const {
  return tier == Tier::kNvme ? swap_->limit_bytes() : pool(tier).limit_bytes();
}

bool Hierarchy::is_host(Tier tier) const {
  const auto& accelerator = pool(tier).accelerator();
  return !accelerator || accelerator->is_host_memory();
}

void Hierarchy::copy_in(Tier tier, std::byte* to, const std::byte* from, std::uint64_t bytes) const {
  if (is_host(tier)) {
    std::memcpy(to, from, bytes);
    return;
  }
  auto& accelerator = *pool(tier).accelerator();
  copy_now(accelerator, accelerator.to_device(), to, from, bytes);
}

void Hierarchy::copy_out(Tier tier, std::byte* to, const std::byte* from, std::uint64_t bytes) const {
  if (is_host(tier)) {
    std::memcpy(to, from, bytes);
    return;
  }
  auto& accelerator = *pool(tier).accelerator();
  copy_now(accelerator, accelerator.to_host(), to, from, bytes);
}

void Hierarchy::copy_within(Tier tier, std::byte* to, const std::byte* from, std::uint64_t bytes) const {
  if (is_host(tier))
    std::memcpy(to, from, bytes);
  else
    pool(tier).accelerator()->compute().copy(to, from, bytes);
}

MoveTicket Hierarchy::copy(Tier from, Block& to, Block& source, std::uint64_t bytes) const {
  const auto* gpu = pools_[0].get();
  (from == Tier::kGpu ? to : source).pin();
  if (!gpu->is_one_piece())
    return MoveTicket((from == Tier::kGpu ? d2h_ : h2d_)->copy(to.data(), source.data(), bytes));
  auto& accelerator = *gpu->accelerator();
  return MoveTicket(from == Tier::kGpu ? source.copy_to(to.data(), bytes, accelerator.to_host())
                                       : to.copy_from(source.data(), bytes, accelerator.to_device()));
}

bool Hierarchy::follow(const MoveTicket& move) const {
  if (!pools_[0] || !pools_[0]->is_one_piece()) return false;
  const auto points = move.points();
  if (points.empty()) return false;
  try {
    for (const auto& point : points) pools_[0]->accelerator()->compute().wait_for(point);
  } catch (const CudaError&) {
    return false;  // who waits on the host is told of a lost device
  }
  return true;
}

std::optional<device::SharedPoint> Hierarchy::end_of_uses() const noexcept {
  if (!pools_[0] || !pools_[0]->is_one_piece()) return nullptr;
  try {
    return pools_[0]->accelerator()->compute().point();
  } catch (const CudaError&) {  // uses then end with what is enqueued when it matters
    return std::nullopt;
  }
}

}  // namespace asterias::chunk
