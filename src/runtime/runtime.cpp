#include "runtime/runtime.hpp"

#include <malloc.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/byte_size.hpp"
#include "base/log.hpp"
#include "base/process_memory.hpp"
#include "device/block_file.hpp"
#include "runtime/allocator.hpp"
#include "runtime/interception.hpp"
#include "runtime/storage_slot.hpp"

namespace asterias::runtime {
namespace {

std::mutex attach_mutex;
int num_engines = 0;
std::atomic<std::shared_ptr<Runtime>> current_runtime;

// What the libraries' memory may grow by between two measurements.
constexpr std::uint64_t kLibrarySlackBytes = 24 * kMiB;
// What it may grow by after the first pass (a budget must leave that), and what it may differ by from one run to the next (a budget
// that a refusal names leaves that, too, so that it is not refused in its turn).
constexpr std::uint64_t kLibraryGrowthBytes = 8 * kMiB;
constexpr std::uint64_t kLibraryDriftBytes = 16 * kMiB;
// What the measuring pass leaves to the rest of the machine.
constexpr std::uint64_t kSystemReserveBytes = 512 * kMiB;

std::uint64_t library_bytes() {
  const std::uint64_t resident = resident_set_bytes();
  const std::uint64_t mapped = device::PageBlock::mapped_bytes();
  return resident > mapped ? resident - mapped : 0;
}

std::uint64_t resolve_memory_limit(const ByteLimit& limit) {
  const std::uint64_t machine = memory_limit_bytes();
  if (limit.share) return static_cast<std::uint64_t>(*limit.share * static_cast<double>(machine));
  return limit.bytes ? *limit.bytes : chunk::TierPool::kUnlimited;
}

std::uint64_t clip_to_machine(std::uint64_t limit) {
  const std::uint64_t machine = memory_limit_bytes();
  if (limit == chunk::TierPool::kUnlimited || limit <= machine) return limit;
  log::warning("tiers.cpu.limit " + format_bytes(limit) + " is more than this process may have; clipped to " + format_bytes(machine));
  return machine;
}

std::uint64_t free_disk_bytes(const std::string& path) {
  struct statvfs stat {};
  return ::statvfs(path.c_str(), &stat) == 0 ? std::uint64_t{stat.f_bavail} * stat.f_frsize : 0;
}

std::unique_ptr<chunk::SwapSpace> open_swap(const EngineConfig& config) {
  const auto& nvme = config.tiers.nvme;
  if (nvme.paths.empty()) return nullptr;
  device::BlockFileOptions options;
  options.queue_depth = config.io.queue_depth;
  options.block_bytes = config.io.block_bytes;
  options.direct = config.io.direct;
  std::vector<std::unique_ptr<device::BlockFile>> files;
  std::uint64_t free_bytes = 0;
  for (const auto& path : nvme.paths) {
    files.push_back(device::create_swap_file(path, options));
    free_bytes += free_disk_bytes(path);
  }
  std::uint64_t limit = chunk::SwapSpace::kUnlimited;
  if (nvme.limit.bytes) limit = *nvme.limit.bytes;
  if (nvme.limit.share) limit = static_cast<std::uint64_t>(*nvme.limit.share * static_cast<double>(free_bytes));
  return std::make_unique<chunk::SwapSpace>(std::move(files), limit);
}

chunk::Hierarchy make_hierarchy(const EngineConfig& config) {
  const std::uint64_t cpu_limit = clip_to_machine(resolve_memory_limit(config.tiers.cpu.limit));
  auto cpu = chunk::TierPool::create(Tier::kCpu, cpu_limit, library_bytes, kLibrarySlackBytes);
  if (config.device != "simulated") return {nullptr, std::move(cpu), open_swap(config)};
  auto gpu = chunk::TierPool::create(Tier::kGpu, resolve_memory_limit(config.tiers.gpu.limit));
  const auto& link = config.tiers.gpu.link;
  return {std::move(gpu), std::move(cpu), open_swap(config), std::make_unique<device::CopyStream>(link.h2d_bytes_per_second),
          std::make_unique<device::CopyStream>(link.d2h_bytes_per_second)};
}

std::unique_ptr<evict::EvictionPolicy> make_policy(Eviction eviction) {
  return eviction == Eviction::kLru ? evict::make_lru_policy() : evict::make_next_use_policy();
}

// Bounds what glibc keeps: few arenas, no growing thresholds, freed tops given back.
void bound_malloc() {
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

// Everything of the configuration that all engines of a process share.
std::string tiers_key(EngineConfig config) {
  EngineConfig shared;
  shared.device = config.device == "auto" ? "cpu" : config.device;
  shared.tiers = config.tiers;
  shared.placement = config.placement;
  shared.io = config.io;
  shared.prefetch = config.prefetch;
  shared.debug = config.debug;
  return shared.to_json();
}

}  // namespace

std::shared_ptr<Runtime> Runtime::current() { return current_runtime.load(std::memory_order_acquire); }

std::shared_ptr<Runtime> Runtime::attach(const EngineConfig& config) {
  const std::lock_guard lock(attach_mutex);
  auto runtime = current();
  if (!runtime) {
    bound_malloc();
    install_allocator();
    install_interception();
    runtime = std::shared_ptr<Runtime>(new Runtime(config));
    current_runtime.store(runtime, std::memory_order_release);
  } else if (runtime->tiers_key_ != tiers_key(config)) {
    throw ConfigError("device, tiers, placement, prefetch, io and debug must be the same for all engines of a process: they share one set of tiers");
  }
  ++num_engines;
  return runtime;
}

void Runtime::detach(const std::shared_ptr<Runtime>& runtime) {
  const std::lock_guard lock(attach_mutex);
  if (--num_engines > 0) return;
  release_last_outputs();
  current_runtime.store(nullptr, std::memory_order_release);
  StorageSlot::release_survivors(runtime->residency_);
}

Runtime::Runtime(const EngineConfig& config)
    : residency_(std::make_shared<evict::Residency>(make_hierarchy(config), make_policy(config.placement.eviction), config.prefetch)),
      compute_tier_(residency_->hierarchy().compute_tier()),
      debug_(config.debug),
      tiers_key_(tiers_key(config)) {
  for (const Tier tier : residency_->hierarchy().levels())
    if (tier != Tier::kNvme) residency_->hierarchy().pool(tier).set_poison(debug_.poison);
  residency_->set_measuring(true, [this](std::uint64_t bytes) { return may_exceed(bytes); });
}

bool Runtime::may_exceed(std::uint64_t bytes) const {
  const std::uint64_t available = memory_available_bytes();
  return available > kSystemReserveBytes && bytes < available - kSystemReserveBytes;
}

void Runtime::check_failure() const {
  if (const auto failure = residency_->failure()) std::rethrow_exception(failure);
}

void Runtime::check_refusal() const {
  if (!is_measuring_) return;
  residency_->hierarchy().pool(Tier::kCpu).refresh_foreign();
  if (residency_->is_refused() || !smallest_budgets(true).empty()) refuse("measured over one pass", true);
}

void Runtime::end_measuring() {
  if (std::exchange(is_measuring_, false)) residency_->set_measuring(false);
}

void Runtime::refuse(const char* why, bool is_exact) const {
  const auto lacking = smallest_budgets(true);
  const auto all = smallest_budgets(false);
  const TierBudget worst = lacking.empty() ? all.front() : lacking.front();
  const auto& hierarchy = residency_->hierarchy();
  const std::uint64_t have =
      worst.tier == Tier::kNvme ? hierarchy.swap().limit_bytes() : hierarchy.pool(worst.tier).limit_bytes();
  const auto needs = residency_->needs();
  std::string because = why;
  if (worst.tier != Tier::kNvme) because += ", most at " + needs.working_set_at[static_cast<int>(worst.tier)];
  if (!is_exact) because += "; at least: the system has too little memory to measure the whole pass";
  throw BudgetError(worst.tier, worst.bytes, have, lacking, because);
}

std::vector<TierBudget> Runtime::smallest_budgets(bool only_lacking) const {
  const auto& hierarchy = residency_->hierarchy();
  const evict::Needs needs = residency_->needs();
  const auto& cpu = hierarchy.pool(Tier::kCpu);
  const bool has_gpu = hierarchy.has(Tier::kGpu);
  const std::uint64_t swap = hierarchy.has(Tier::kNvme) ? hierarchy.swap().limit_bytes() : 0;
  const std::uint64_t foreign = cpu.foreign_bytes() + kLibraryGrowthBytes;
  const std::uint64_t room[] = {has_gpu ? hierarchy.pool(Tier::kGpu).limit_bytes() : 0,
                                cpu.limit_bytes() > foreign ? cpu.limit_bytes() - foreign : 0, swap};
  // What moves needs room at both ends for a moment, once per boundary between tiers.
  const std::uint64_t transit = needs.largest_resident * (hierarchy.levels().size() - 1);
  const std::uint64_t total = needs.content + transit;
  // What the other tiers leave over, when the libraries take `drift` more from the cpu tier.
  const auto rest_after = [&](Tier tier, std::uint64_t drift) {
    std::uint64_t rest = total;
    for (int other = 0; other < kNumTiers; ++other) {
      const std::uint64_t lost = other == static_cast<int>(Tier::kCpu) ? std::min(room[other], drift) : 0;
      if (other != static_cast<int>(tier)) rest -= std::min(rest, room[other] - lost);
    }
    return rest;
  };
  std::vector<TierBudget> budgets;
  for (const Tier tier : hierarchy.levels()) {
    const std::uint64_t working_set = tier == Tier::kNvme ? 0 : needs.working_set[static_cast<int>(tier)];
    const bool lacks = std::max(rest_after(tier, 0), working_set) > room[static_cast<int>(tier)];
    std::uint64_t need = std::max(rest_after(tier, kLibraryDriftBytes), working_set);
    if (tier == Tier::kCpu) need += foreign + kLibraryDriftBytes;
    if (lacks || !only_lacking) budgets.push_back({tier, round_up(need, kMiB)});
  }
  return budgets;
}

}  // namespace asterias::runtime
