#include "runtime/runtime.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <malloc.h>
#include <map>
#include <optional>
#include <sys/statvfs.h>
#include <utility>

#include <ATen/Context.h>

#include "base/byte_size.hpp"
#include "base/library_pages.hpp"
#include "base/log.hpp"
#include "base/process_memory.hpp"
#include "device/block_file.hpp"
#include "device/copy_stream.hpp"
#include "device/cuda_accelerator.hpp"
#include "device/cuda_device.hpp"
#include "device/simulated_accelerator.hpp"
#include "runtime/allocator.hpp"
#include "runtime/interception.hpp"
#include "runtime/storage_slot.hpp"
#include "runtime/torch_device.hpp"

namespace asterias::runtime {
namespace {

std::mutex attach_mutex;
int num_engines = 0;
std::atomic<std::shared_ptr<Runtime>> current_runtime;

// What the libraries' memory may grow by between two measurements.
constexpr std::uint64_t kLibrarySlackBytes = 24 * kMiB;
// What it may grow by after the first pass (a budget must leave that), and what it may differ by from one run to the
// next (a budget that a refusal names leaves that, too, so that it is not refused in its turn).
constexpr std::uint64_t kLibraryGrowthBytes = 8 * kMiB;
constexpr std::uint64_t kLibraryDriftBytes = 16 * kMiB;
// What the measuring pass leaves to the rest of the machine.
constexpr std::uint64_t kSystemReserveBytes = 512 * kMiB;

// What torch's libraries take of a card besides tensors once they are used: kernels that are loaded lazily, handles.
// Their workspaces are tensors' memory.
constexpr std::uint64_t kCardLibraryBytes = 384 * kMiB;

// In one piece of memory residents of many sizes leave gaps: of a budget, one part in so many.
constexpr std::uint64_t kGapShare = 8;

constexpr const char* kAtLeast = "; at least: the system has too little memory to measure the whole pass";

// `earlier_bytes` are blocks that outlived an earlier runtime: they are in nobody's pool now.
std::uint64_t library_bytes(std::uint64_t earlier_bytes) {
  const std::uint64_t resident = resident_set_bytes();
  const std::uint64_t mapped = device::PageBlock::mapped_bytes();
  return (resident > mapped ? resident - mapped : 0) + earlier_bytes;
}

std::uint64_t resolve_memory_limit(const ByteLimit& limit) {
  const std::uint64_t machine = memory_limit_bytes();
  if (limit.share) return static_cast<std::uint64_t>(*limit.share * static_cast<double>(machine));
  return limit.bytes ? *limit.bytes : chunk::TierPool::kUnlimited;
}

std::uint64_t clip_to_machine(std::uint64_t limit) {
  const std::uint64_t machine = memory_limit_bytes();
  if (limit == chunk::TierPool::kUnlimited || limit <= machine) return limit;
  log::warning("tiers.cpu.limit " + format_bytes(limit) + " is more than this process may have; clipped to " +
               format_bytes(machine));
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
  options.engine = config.io.engine;
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

bool is_cuda(const EngineConfig& config) { return config.device.starts_with("cuda"); }

std::unique_ptr<device::Accelerator> open_card(const EngineConfig& config, const CudaBackend& cuda) {
  device::CudaOptions options;
  options.index = cuda_index(config.device);
  options.limit_bytes = config.tiers.gpu.limit.bytes.value_or(UINT64_MAX);
  options.limit_share = config.tiers.gpu.limit.share.value_or(1);
  options.library_growth_bytes = kCardLibraryBytes;
  options.uses_foreign_stream = true;
  options.compute_stream = cuda.torch->stream(options.index);
  // For as long as the process lives: what others hold of the card is known only before the context is made.
  static std::map<int, std::shared_ptr<const device::CudaDevice>> cards;
  auto& card = cards[options.index];
  if (!card) card = std::make_shared<const device::CudaDevice>(*cuda.calls, options.index);
  card->adopt_thread();
  return device::open_cuda_accelerator(card, options);
}

chunk::Hierarchy make_hierarchy(const EngineConfig& config, const CudaBackend& cuda) {
  const std::uint64_t cpu_limit = clip_to_machine(resolve_memory_limit(config.tiers.cpu.limit));
  const auto measure = [earlier = device::PageBlock::mapped_bytes()] { return library_bytes(earlier); };
  auto cpu = chunk::TierPool::create(Tier::kCpu, cpu_limit, measure, kLibrarySlackBytes);
  if (is_cuda(config)) {
    auto card = open_card(config, cuda);
    const std::uint64_t bytes = card->memory_bytes();
    cpu->pin_with(card->host_pinner(), resolve_memory_limit(config.tiers.cpu.pinned_limit));
    return {
        chunk::TierPool::create_in_one_piece(Tier::kGpu, bytes, std::move(card), chunk::TierPool::small_share(bytes)),
        std::move(cpu), open_swap(config)};
  }
  if (config.device != "simulated") return {nullptr, std::move(cpu), open_swap(config)};
  const auto& link = config.tiers.gpu.link;
  const std::uint64_t gpu_limit = resolve_memory_limit(config.tiers.gpu.limit);
  if (config.debug.one_piece) {
    auto accelerator =
        device::make_simulated_accelerator({gpu_limit, link.h2d_bytes_per_second, link.d2h_bytes_per_second});
    cpu->pin_with(accelerator->host_pinner(), resolve_memory_limit(config.tiers.cpu.pinned_limit));
    return {chunk::TierPool::create_in_one_piece(Tier::kGpu, gpu_limit, std::move(accelerator),
                                                 chunk::TierPool::small_share(gpu_limit)),
            std::move(cpu), open_swap(config)};
  }
  auto gpu = chunk::TierPool::create(Tier::kGpu, gpu_limit);
  return {std::move(gpu), std::move(cpu), open_swap(config),
          std::make_unique<device::CopyStream>(link.h2d_bytes_per_second),
          std::make_unique<device::CopyStream>(link.d2h_bytes_per_second)};
}

std::unique_ptr<evict::EvictionPolicy> make_policy(Eviction eviction) {
  switch (eviction) {
    case Eviction::kNextUse: return evict::make_next_use_policy();
    case Eviction::kLru: return evict::make_lru_policy();
    case Eviction::kFifo: return evict::make_fifo_policy();
    case Eviction::kStatic: return evict::make_static_policy();
  }
  return evict::make_next_use_policy();
}

// Bounds what glibc keeps: few arenas, no growing thresholds, freed tops given back.
void bound_malloc() {
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

// What each tier's limit leaves to residents and tensors.
class Rooms {
 public:
  Rooms(const chunk::Hierarchy& hierarchy, std::uint64_t foreign_bytes) {
    const std::uint64_t cpu = hierarchy.pool(Tier::kCpu).limit_bytes();
    bytes_[static_cast<int>(Tier::kCpu)] = cpu > foreign_bytes ? cpu - foreign_bytes : 0;
    if (hierarchy.has(Tier::kGpu)) {
      const auto& gpu = hierarchy.pool(Tier::kGpu);
      bytes_[static_cast<int>(Tier::kGpu)] = gpu.limit_bytes() - std::min(gpu.limit_bytes(), gpu.foreign_bytes());
      gpu_gaps_ = hierarchy.pool(Tier::kGpu).is_one_piece() ? of(Tier::kGpu) / kGapShare : 0;
    }
    if (hierarchy.has(Tier::kNvme)) bytes_[static_cast<int>(Tier::kNvme)] = hierarchy.swap().limit_bytes();
  }

  std::uint64_t of(Tier tier) const { return bytes_[static_cast<int>(tier)]; }

  // Returns what is left of `total` when the tiers other than `tier` are full, the cpu tier with `drift` bytes more for
  // libraries.
  std::uint64_t rest_after_others(std::uint64_t total, Tier tier, bool with_gpu, std::uint64_t drift) const {
    for (const Tier other : {Tier::kGpu, Tier::kCpu, Tier::kNvme}) {
      if (other == tier || (other == Tier::kGpu && !with_gpu)) continue;
      const std::uint64_t lost = other == Tier::kCpu ? std::min(of(other), drift) : other == Tier::kGpu ? gpu_gaps_ : 0;
      total -= std::min(total, of(other) - lost);
    }
    return total;
  }

 private:
  std::array<std::uint64_t, kNumTiers> bytes_{};
  std::uint64_t gpu_gaps_ = 0;  // that residents may leave between them
};

// torch's switches that decide about bits on a card are the process's: set while a runtime lives, then as before.
class TorchSwitches {
 public:
  TorchSwitches() = default;
  // Equal bits from run to run, and the same whatever is in memory that nobody has written. cuBLAS reads its own switch
  // when its first handle is made.
  explicit TorchSwitches(const EngineConfig& config) {
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    auto& context = at::globalContext();
    before_ = {context.deterministicAlgorithms(), context.deterministicAlgorithmsWarnOnly(),
               context.deterministicFillUninitializedMemory(), context.benchmarkCuDNN()};
    set({config.deterministic, /*warns_only=*/false, /*fills_memory=*/false,
         before_->benchmarks && !config.deterministic});
    context.setAllowTF32CuBLAS(config.allow_tf32);
    context.setAllowTF32CuDNN(config.allow_tf32);
  }
  void restore() {
    if (before_) set(*before_);
    before_.reset();
  }

 private:
  struct Values {
    bool is_deterministic, warns_only, fills_memory, benchmarks;
  };
  static void set(const Values& values) {
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(values.is_deterministic, values.warns_only);
    context.setDeterministicFillUninitializedMemory(values.fills_memory);
    context.setBenchmarkCuDNN(values.benchmarks);
  }

  std::optional<Values> before_;
};

TorchSwitches switches_on_card;  // below attach_mutex

// Everything of the configuration that all engines of a process share.
std::string tiers_key(EngineConfig config) {
  EngineConfig shared;
  shared.device = config.device;
  shared.deterministic = config.deterministic;
  shared.allow_tf32 = config.allow_tf32;
  shared.tiers = config.tiers;
  shared.placement = config.placement;
  shared.placement.grad_mode = GradMode::kSeparate;  // of each engine's own choice
  shared.io = config.io;
  shared.prefetch = config.prefetch;
  shared.debug = config.debug;
  shared.use_cpu_embedding = config.use_cpu_embedding;
  return shared.to_json();
}

}  // namespace

std::shared_ptr<Runtime> Runtime::current() { return current_runtime.load(std::memory_order_acquire); }

std::shared_ptr<Runtime> Runtime::attach(const EngineConfig& config) {
  const std::lock_guard lock(attach_mutex);
  auto runtime = current();
  if (!runtime) {
    const CudaBackend cuda = is_cuda(config) ? cuda_backend() : CudaBackend();
    bound_malloc();
    release_library_pages();
    install_allocator();
    install_interception();
    runtime = std::shared_ptr<Runtime>(new Runtime(config, cuda));
    if (cuda.torch) {
      install_device_allocator(*cuda.torch, cuda_index(config.device));
      switches_on_card = TorchSwitches(config);
    }
    current_runtime.store(runtime, std::memory_order_release);
  } else if (runtime->tiers_key_ != tiers_key(config)) {
    throw ConfigError(
        "device, deterministic, allow_tf32, tiers, placement, prefetch, io and debug must be the same for all engines "
        "of a process: they share "
        "one set of tiers");
  }
  ++num_engines;
  return runtime;
}

void Runtime::detach(const std::shared_ptr<Runtime>& runtime) {
  const std::lock_guard lock(attach_mutex);
  if (--num_engines > 0) return;
  release_last_outputs();
  release_worker_outputs();
  if (runtime->cuda_.torch) runtime->cuda_.torch->drop_workspaces();
  switches_on_card.restore();
  current_runtime.store(nullptr, std::memory_order_release);
  runtime->residency_->stop_keeping();
  StorageSlot::release_survivors(runtime->residency_);
  for (const Tier tier : runtime->residency_->hierarchy().levels())
    if (tier != Tier::kNvme) runtime->residency_->hierarchy().pool(tier).stop_caching();
}

Runtime::Runtime(const EngineConfig& config, const CudaBackend& cuda)
    : residency_(std::make_shared<evict::Residency>(make_hierarchy(config, cuda),
                                                    make_policy(config.placement.eviction), config.prefetch,
                                                    config.placement.activations)),
      compute_tier_(residency_->hierarchy().compute_tier()),
      device_(cuda.torch ? c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(cuda_index(config.device)))
                         : c10::Device(c10::kCPU)),
      cuda_(cuda),
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

void Runtime::check_stream() const {
  if (!cuda_.torch || cuda_.torch->is_on_stream(device_.index())) return;
  throw StateError(StateError::Cause::kMisuse,
                   "an operator was called while this thread's current CUDA device is not " + device_.str() +
                       ", or its current stream not the default one, by which moves of tensors are ordered; call it on "
                       "that device (c10::cuda::set_device) and without a CUDAStreamGuard");
}

void Runtime::check_failure() const {
  if (const auto failure = residency_->failure()) std::rethrow_exception(failure);
}

void Runtime::check_refusal() const {
  if (!is_measuring_) return;
  residency_->hierarchy().pool(Tier::kCpu).refresh_foreign();
  if (residency_->is_refused() || !smallest_budgets(true).empty()) refuse("measured over one pass");
}

void Runtime::check_excess() const {
  if (is_measuring_ && residency_->is_refused()) refuse("measured before the first pass", kAtLeast);
}

// The measuring pass may exceed the limits where the machine has the memory; a build that fails then shows that it has
// not. After the first update nothing may exceed them, and what the rest of the model needs is not known.
void Runtime::refuse_build() const {
  if (is_measuring_) refuse("measured while the model was built", kAtLeast);
  if (smallest_budgets(true).empty()) return;
  refuse("while another model was built", "; at least: limits are final after the first update, so no more is known");
}

// Gradients' chunks that stay blank (ModelData::keep_gradient) are no content from now on.
void Runtime::end_measuring() {
  if (!std::exchange(is_measuring_, false)) return;
  residency_->set_measuring(false);
  residency_->count_blank(false);
}

void Runtime::refuse(const char* why, const char* remark) const {
  const auto lacking = smallest_budgets(true);
  const auto all = smallest_budgets(false);
  const TierBudget worst = lacking.empty() ? all.front() : lacking.front();
  const auto& hierarchy = residency_->hierarchy();
  const std::uint64_t have = hierarchy.limit_bytes(worst.tier);
  const auto needs = residency_->needs();
  std::string because = why;
  if (worst.tier != Tier::kNvme) because += ", most at " + needs.working_set_at[static_cast<int>(worst.tier)];
  throw BudgetError(worst.tier, worst.bytes, have, lacking, because + remark);
}

std::vector<TierBudget> Runtime::smallest_budgets(bool only_lacking) const {
  const auto& hierarchy = residency_->hierarchy();
  const evict::Needs needs = residency_->needs();
  const std::uint64_t foreign = hierarchy.pool(Tier::kCpu).foreign_bytes() + kLibraryGrowthBytes;
  const Rooms rooms(hierarchy, foreign);
  // What moves needs room at both ends for a moment, once per boundary between tiers.
  const std::uint64_t transit = needs.largest_resident * (hierarchy.levels().size() - 1);
  const bool has_gpu = hierarchy.has(Tier::kGpu);
  const std::uint64_t below_gpu = has_gpu ? needs.updated_content + transit : 0;
  // The most of: what the operators pin, what the other tiers leave over, and for a lower tier what it alone can hold.
  const auto need_of = [&](Tier tier, std::uint64_t drift) {
    std::uint64_t need = rooms.rest_after_others(needs.content + transit, tier, /*with_gpu=*/true, drift);
    if (tier == Tier::kGpu && hierarchy.pool(tier).is_one_piece()) need += need / (kGapShare - 1);
    if (tier != Tier::kGpu) need = std::max(need, rooms.rest_after_others(below_gpu, tier, /*with_gpu=*/false, drift));
    return tier == Tier::kNvme ? need : std::max(need, needs.working_set[static_cast<int>(tier)]);
  };
  const bool lower_tiers_suffice =
      below_gpu <= rooms.of(Tier::kCpu) + std::min(rooms.of(Tier::kNvme), UINT64_MAX - rooms.of(Tier::kCpu));
  std::vector<TierBudget> budgets;
  for (const Tier tier : hierarchy.levels()) {
    bool lacks = need_of(tier, 0) > rooms.of(tier);
    if (tier == Tier::kGpu && !lower_tiers_suffice)
      lacks = needs.working_set[0] > rooms.of(tier);  // more of it alone would not help
    std::uint64_t libraries = tier == Tier::kCpu ? foreign + kLibraryDriftBytes : 0;
    if (tier == Tier::kGpu && !hierarchy.is_host(tier))
      libraries = hierarchy.pool(tier).foreign_bytes() + kLibraryDriftBytes;
    if (!lacks && only_lacking) continue;
    const std::uint64_t bytes = round_up(need_of(tier, kLibraryDriftBytes) + libraries, kMiB);
    budgets.push_back(
        {tier, lacks ? bytes : std::min(bytes, hierarchy.limit_bytes(tier))});  // what was given suffices as it is
  }
  return budgets;
}

}  // namespace asterias::runtime
