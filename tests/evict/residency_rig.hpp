// A Residency on small tiers, a model of what its residents should hold, and the checks of its invariants.
//
// The gpu tier is pages, one piece of a simulated accelerator, or a card: one of threads, on which what the rig does to
// payloads is enqueued as kernels are.
//
// Threading: one thread; residency_threads_test.cpp brings its own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "device/copy_stream.hpp"
#include "device/cuda_accelerator.hpp"
#include "device/simulated_accelerator.hpp"
#include "evict/residency.hpp"
#include "tests/base/temporary_folder.hpp"
#include "tests/chunk/ram_block_file.hpp"
#include "tests/device/fake_cuda_calls.hpp"
#include "tests/device/faulty_file_calls.hpp"

namespace asterias::evict::tests {

using chunk::CopyState;
using chunk::SwapSpace;
using chunk::TierPool;
using device::tests::FaultyFileCalls;

inline constexpr std::uint64_t kPage = device::kPageBytes;

// A tier of 0 pages is not there; the cpu tier always is.
struct Pages {
  std::uint64_t gpu = 0;
  std::uint64_t cpu = 0;
  std::uint64_t nvme = 0;
};

// What the gpu tier is made of. A slow card has much to do still whenever the host comes with more.
enum class Memory { kPages, kOnePiece, kCard, kSlowCard };

// A tenant that remembers where it was told to point.
class Pointer final : public Tenant {
 public:
  explicit Pointer(std::byte* at = nullptr) : at_(at) {}
  void follow(std::byte* payload) noexcept override { at_ = payload; }
  std::byte* at() const { return at_; }

 private:
  std::byte* at_;
};

// The bytes of version `version` of a payload; version 0 is zeros.
inline std::uint64_t word_of(std::uint64_t version, std::uint64_t index) {
  return version == 0 ? 0 : (version + 1) * 0x9E3779B97F4A7C15U + index;
}

inline void write_version(std::byte* payload, std::uint64_t bytes, std::uint64_t version) {
  for (std::uint64_t i = 0; i < bytes / 8; ++i) {
    const std::uint64_t word = word_of(version, i);
    std::memcpy(payload + 8 * i, &word, 8);
  }
}

inline bool holds_version(const std::byte* payload, std::uint64_t bytes, std::uint64_t version) {
  for (std::uint64_t i = 0; i < bytes / 8; ++i) {
    std::uint64_t word = 0;
    std::memcpy(&word, payload + 8 * i, 8);
    if (word != word_of(version, i)) return false;
  }
  return true;
}

class Rig {
 public:
  // With `calls` the drive is a real file whose system calls can be made to fail; else it is in memory.
  explicit Rig(const Pages& pages, std::shared_ptr<FaultyFileCalls> calls = nullptr,
               std::unique_ptr<EvictionPolicy> policy = make_lru_policy(),
               ActivationPlacement activations = ActivationPlacement::kAuto, Memory memory = Memory::kPages,
               int look_ahead = 0)
      : cpu(TierPool::create(Tier::kCpu, pages.cpu * kPage)) {
    if (pages.gpu > 0) gpu = make_gpu(pages.gpu * kPage, memory);
    for (const auto& pool : {gpu, cpu})
      if (pool) pool->set_poison(true);
    const bool has_own_link = gpu && !gpu->is_one_piece();
    residency.emplace(chunk::Hierarchy(gpu, cpu, make_swap(pages.nvme, std::move(calls)),
                                       has_own_link ? std::make_unique<device::CopyStream>() : nullptr,
                                       has_own_link ? std::make_unique<device::CopyStream>() : nullptr),
                      std::move(policy), look_ahead, activations);
  }
  Rig(const Pages& pages, Memory memory, int look_ahead = 0)
      : Rig(pages, nullptr, make_lru_policy(), ActivationPlacement::kAuto, memory, look_ahead) {}

  TierPool& pool(Tier tier) const { return tier == Tier::kGpu ? *gpu : *cpu; }
  Tier compute() const { return gpu ? Tier::kGpu : Tier::kCpu; }

  Resident* make_chunk(std::uint64_t pages = 1, chunk::ListKind list = chunk::ListKind::kParam) {
    return residency->make_chunk(list, pages * kPage, -1);
  }

  // Writes a version of the payload on a tier.
  void write(Resident* resident, std::uint64_t version, std::optional<Tier> tier = {}, Access access = Access::kWrite) {
    const Tier at = tier.value_or(compute());
    const Want want{resident, access};
    residency->acquire({&want, 1}, at);
    put(at, residency->address(resident, at), resident->bytes, version);
    residency->release({&want, 1}, at);
  }

  // Works on payloads of a tier: at once, or as a kernel of the card.
  void run(Tier tier, std::function<void()> work) {
    if (tier != Tier::kGpu || !card) return work();
    CATCH_REQUIRE(card_calls.enqueue(card->compute().handle(), std::move(work)) == 0);
  }
  // Writes a version.
  void put(Tier tier, std::byte* payload, std::uint64_t bytes, std::uint64_t version) {
    note_access(tier, payload, bytes, /*writes=*/true);
    run(tier, [=] { write_version(payload, bytes, version); });
  }
  // Has `num_wrong` count it unless the payload is this version when its turn comes.
  void expect(Tier tier, const std::byte* payload, std::uint64_t bytes, std::uint64_t version) {
    note_access(tier, payload, bytes, /*writes=*/false);
    run(tier, [=, this] { num_wrong += !holds_version(payload, bytes, version); });
  }
  // Waits until the card has done what it was told.
  void await_card() const {
    if (card) card->compute().point()->wait();
  }

  // Says whether the payload, brought to a tier, is the version it should be.
  bool reads(Resident* resident, std::uint64_t version, std::optional<Tier> tier = {}) {
    const Tier at = tier.value_or(compute());
    const Want want{resident, Access::kRead};
    residency->acquire({&want, 1}, at);
    const int num_wrong_before = num_wrong;
    expect(at, residency->address(resident, at), resident->bytes, version);
    await_card();
    residency->release({&want, 1}, at);
    return num_wrong.exchange(num_wrong_before) == num_wrong_before;
  }

  std::vector<Want> acquire(std::vector<Want> wants, std::optional<Tier> tier = {}) {
    residency->acquire(wants, tier.value_or(compute()));
    return wants;
  }

  CopyState state(const Resident* resident, Tier tier) const {
    CopyState state{};
    residency->for_each([&](const Resident& each) {
      if (&each == resident) state = each.on(tier).state;
    });
    return state;
  }

  // Says whether the card has done, or can do without what is held, all that the point is behind.
  bool is_reached(const chunk::MoveTicket& move) {
    card_calls.settle();
    const auto points = move.points();
    CATCH_REQUIRE_FALSE(points.empty());
    return std::all_of(points.begin(), points.end(), [](const auto& point) { return point->reached(); });
  }

  // Moves everything that can leave the compute tier out of it.
  void empty_compute_tier() { residency->evict_all(); }

  // Checks the books and the states. `unmovable_bytes` is what the test itself holds, per memory tier. No overwriter
  // may be at work.
  void check_books(std::array<std::uint64_t, 2> unmovable_bytes = {}) {
    std::array<std::uint64_t, kNumTiers> present{}, pinned{};
    std::array<ContentBytes, kNumTiers> by_kind{};
    residency->for_each([&](const Resident& resident) {
      check_resident(resident);
      for (int tier = 0; tier < kNumTiers; ++tier) {
        if (resident.copies[tier].state != CopyState::kAbsent) {
          present[tier] += resident.bytes;
          by_kind[tier][static_cast<std::size_t>(resident.kind_in_books())] += resident.bytes;
        }
        if (resident.copies[tier].pins > 0) pinned[tier] += resident.bytes;
      }
    });
    for (const Tier tier : residency->hierarchy().levels()) {
      const int at = static_cast<int>(tier);
      CATCH_CAPTURE(tier_name(tier));
      CATCH_REQUIRE(residency->resident_bytes(tier) == present[at]);
      CATCH_REQUIRE(residency->pinned_bytes(tier) == pinned[at]);
      const std::uint64_t lingering_bytes = residency->lingering_bytes(tier);
      if (tier != Tier::kNvme) {
        by_kind[at][static_cast<std::size_t>(ContentKind::kOther)] = unmovable_bytes[at] + lingering_bytes;
        by_kind[at][static_cast<std::size_t>(ContentKind::kLibraries)] = pool(tier).library_bytes();
      }
      CATCH_REQUIRE(residency->content(tier) == by_kind[at]);
      if (tier == Tier::kNvme) {
        CATCH_REQUIRE(residency->hierarchy().swap().used_bytes() == present[at]);
        CATCH_REQUIRE(residency->hierarchy().swap().peak_used_bytes() <= residency->hierarchy().swap().limit_bytes());
        CATCH_REQUIRE(sum_of(residency->peak_content(tier)) == residency->hierarchy().swap().peak_used_bytes());
        continue;
      }
      CATCH_REQUIRE(pool(tier).used_bytes() == present[at] + unmovable_bytes[at] + lingering_bytes);
      CATCH_REQUIRE(pool(tier).used_bytes() + pool(tier).cached_bytes() <= pool(tier).limit_bytes());
      CATCH_REQUIRE(pool(tier).peak_used_bytes() <= pool(tier).limit_bytes());
      CATCH_REQUIRE(sum_of(residency->peak_content(tier)) == pool(tier).peak_held_bytes());
    }
    check_pinned();
  }

  asterias::tests::TemporaryFolder folder;
  device::tests::FakeCudaCalls card_calls;  // whose streams are the compute stream, the link up and the link down
  std::shared_ptr<device::Accelerator> card;
  std::shared_ptr<TierPool> gpu, cpu;
  std::optional<Residency> residency;
  std::atomic<int> num_wrong{0};

 private:
  void note_access(Tier tier, const std::byte* payload, std::uint64_t bytes, bool writes) {
    if (tier == Tier::kGpu && card)
      card_calls.order.access(card->compute().handle().driver_stream, payload, bytes, writes);
  }

  std::shared_ptr<TierPool> make_gpu(std::uint64_t bytes, Memory memory) {
    if (memory == Memory::kPages) return TierPool::create(Tier::kGpu, bytes);
    std::shared_ptr<device::Accelerator> accelerator;
    if (memory == Memory::kOnePiece) {
      accelerator = device::make_simulated_accelerator({bytes, 0, 0});
    } else {
      if (memory == Memory::kSlowCard) card_calls.dawdle(1);
      device::CudaOptions options;
      options.limit_bytes = card_calls.context_bytes + round_up(bytes, 2 * kMiB);
      accelerator = card = device::open_cuda_accelerator(card_calls, options);
    }
    cpu->pin_with(accelerator->host_pinner());
    return TierPool::create_in_one_piece(Tier::kGpu, bytes, std::move(accelerator));
  }

  // All that a card copies from and to is pinned, unless it refuses that.
  void check_pinned() const {
    if (!card || card_calls.is_lost) return;
    CATCH_REQUIRE(card_calls.registered_bytes() == cpu->pinned_bytes());
    if (card_calls.register_error == 0) CATCH_REQUIRE(card_calls.num_pageable_copies == 0);
  }

  std::unique_ptr<SwapSpace> make_swap(std::uint64_t pages, std::shared_ptr<FaultyFileCalls> calls) const {
    if (pages == 0) return nullptr;
    std::vector<std::unique_ptr<device::BlockFile>> files;
    if (calls) {
      files.push_back(device::create_swap_file(folder.path(), {2, 64 * kKiB, true}, std::move(calls)));
    } else {
      files.push_back(std::make_unique<chunk::tests::RamBlockFile>(pages * kPage));
    }
    return std::make_unique<SwapSpace>(std::move(files), pages * kPage);
  }

  void check_resident(const Resident& resident) const {
    bool is_anywhere = false;
    for (const Tier tier : residency->hierarchy().levels()) {
      const Copy& copy = resident.on(tier);
      const bool arrives = resident.move && resident.move->to == tier,
                 leaves = resident.move && resident.move->from == tier;
      CATCH_REQUIRE(arrives == (copy.state == CopyState::kArriving));
      CATCH_REQUIRE((leaves && !resident.move->gone) == (copy.state == CopyState::kLeaving));
      CATCH_REQUIRE((copy.state == CopyState::kAbsent) == (!copy.block && !copy.extents));
      if (copy.pins > 0) CATCH_REQUIRE(copy.is_readable());
      is_anywhere |= copy.is_readable();
    }
    CATCH_REQUIRE((is_anywhere || resident.blank || (resident.move && resident.move->gone)));
    CATCH_REQUIRE((!resident.dying || resident.is_pinned()));
    const bool is_shown = resident.is_there_to_stay(compute()) && !resident.is_hidden();
    const auto* at = is_shown ? resident.on(compute()).block.data() : nullptr;
    for (const auto* tenant : resident.tenants) CATCH_REQUIRE(static_cast<const Pointer*>(tenant)->at() == at);
  }
};

}  // namespace asterias::evict::tests
