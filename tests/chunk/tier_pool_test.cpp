#include "chunk/tier_pool.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "device/cuda_accelerator.hpp"
#include "device/simulated_accelerator.hpp"
#include "tests/device/fake_cuda_calls.hpp"

namespace asterias::chunk {
namespace {

using device::kPageBytes;
using device::PageBlock;

CATCH_TEST_CASE("tier pool: the limit is exact to a page", "[chunk]") {
  for (const std::uint64_t spare : {std::uint64_t{0}, kPageBytes - 1}) {
    const auto pool = TierPool::create(Tier::kCpu, 10 * kPageBytes + spare);
    auto most = pool->try_take(9 * kPageBytes + 1);
    CATCH_REQUIRE(most);
    CATCH_CHECK(most->bytes() == 10 * kPageBytes);
    CATCH_CHECK_FALSE(pool->try_take(kPageBytes));
    CATCH_CHECK(pool->shortfall(kPageBytes) == kPageBytes - spare);
    CATCH_CHECK(pool->used_bytes() == 10 * kPageBytes);
    most.reset();
    CATCH_CHECK(pool->used_bytes() == 0);
    CATCH_CHECK(pool->try_take(10 * kPageBytes));
    CATCH_CHECK_FALSE(pool->try_take(11 * kPageBytes));
  }
}

CATCH_TEST_CASE("tier pool: what fits has no shortfall, what does not has one", "[chunk]") {
  std::mt19937_64 random(1);
  const auto pool = TierPool::create(Tier::kCpu, 20 * kPageBytes + 100);
  for (int round = 0; round < 300; ++round) {
    const auto taken = pool->try_take(1 + random() % (12 * kPageBytes));
    const std::uint64_t bytes = 1 + random() % (24 * kPageBytes);
    const std::uint64_t shortfall = pool->shortfall(bytes);
    CATCH_REQUIRE(pool->try_take(bytes).has_value() == (shortfall == 0));
    const std::uint64_t over = pool->used_bytes() + TierPool::charge(bytes);
    CATCH_REQUIRE(shortfall == (over > pool->limit_bytes() ? over - pool->limit_bytes() : 0));
  }
}

CATCH_TEST_CASE("tier pool: in one piece of an accelerator's memory, room must be in one place", "[chunk]") {
  const std::shared_ptr<device::Accelerator> accelerator = device::make_simulated_accelerator({8 * kPageBytes, 0, 0});
  const auto pool = TierPool::create_in_one_piece(Tier::kGpu, 6 * kPageBytes, accelerator);
  CATCH_CHECK(pool->limit_bytes() == 6 * kPageBytes);
  std::vector<Block> blocks;
  for (int i = 0; i < 6; ++i) blocks.push_back(std::move(*pool->try_take(kPageBytes, TierPool::End::kLow)));
  for (std::size_t i = 0; i < 6; ++i) CATCH_CHECK(blocks[i].data() == accelerator->memory() + i * kPageBytes);
  CATCH_CHECK_FALSE(pool->try_take(1));
  CATCH_CHECK(pool->shortfall(1) > 0);

  blocks[1] = Block();
  blocks[3] = Block();
  CATCH_CHECK(pool->shortfall(2 * kPageBytes) == 0);
  CATCH_CHECK_FALSE(pool->has_place(2 * kPageBytes));
  CATCH_CHECK_FALSE(pool->try_take(2 * kPageBytes));
  const auto cost = [&](const std::byte* data) -> std::optional<std::uint64_t> {
    if (data == blocks[0].data()) return std::nullopt;
    return data == blocks[2].data() ? 5 : 3;
  };
  const auto place = pool->cheapest_place(2 * kPageBytes, cost);
  CATCH_REQUIRE(place);
  CATCH_CHECK(place->holds(blocks[4].data()));
  CATCH_CHECK_FALSE(place->holds(blocks[2].data()));
  CATCH_CHECK_FALSE(pool->cheapest_place(6 * kPageBytes, cost));
  blocks[4] = Block();
  const auto found = pool->try_take(2 * kPageBytes);
  CATCH_REQUIRE(found);
  CATCH_CHECK(found->data() == accelerator->memory() + 3 * kPageBytes);
}

CATCH_TEST_CASE("tier pool: in one piece, what is poisoned, cleared and beyond the limit", "[chunk]") {
  const std::shared_ptr<device::Accelerator> accelerator = device::make_simulated_accelerator({4 * kPageBytes, 0, 0});
  const auto pool = TierPool::create_in_one_piece(Tier::kGpu, TierPool::kUnlimited, accelerator);
  CATCH_CHECK(pool->limit_bytes() == 4 * kPageBytes);
  pool->set_poison(true);
  auto block = pool->try_take(4 * kPageBytes);
  CATCH_REQUIRE(block);
  block->clear();
  CATCH_CHECK(accelerator->memory()[5] == std::byte{0});
  const Block besides = pool->take_beyond_limit(2 * kPageBytes);
  CATCH_CHECK(besides.is_besides());
  CATCH_CHECK(pool->used_bytes() == 6 * kPageBytes);
  block.reset();
  CATCH_CHECK(accelerator->memory()[5] == std::byte{0xFF});
  CATCH_CHECK(pool->used_bytes() == 2 * kPageBytes);
  CATCH_CHECK(pool->shortfall(4 * kPageBytes) == 0);  // what lies besides takes no room of it
  CATCH_CHECK(pool->try_take(4 * kPageBytes));
  CATCH_CHECK(pool->shortfall(4 * kPageBytes + 1) == kPageBytes);
}

CATCH_TEST_CASE("tier pool: on a card, every use of a range comes after those before it", "[chunk]") {
  device::tests::FakeCudaCalls calls;
  device::CudaOptions options;
  options.limit_bytes = calls.context_bytes + 2 * kMiB;
  const std::shared_ptr<device::Accelerator> card = device::open_cuda_accelerator(calls, options);
  const auto pool = TierPool::create_in_one_piece(Tier::kGpu, kPageBytes, card);
  const std::vector<std::byte> from(kPageBytes, std::byte{7});
  std::vector<std::byte> down(kPageBytes), again(kPageBytes);
  const auto up_link = calls.streams()[1], down_link = calls.streams()[2];
  {
    auto block = pool->try_take(kPageBytes);
    calls.hold(up_link);
    auto up = block->copy_from(from.data(), kPageBytes, card->to_device());
    auto first = block->copy_to(down.data(), kPageBytes, card->to_host());
    calls.settle();
    CATCH_CHECK_FALSE(first.point()->reached());
    calls.hold(down_link);
    calls.release(up_link);
    auto second = block->copy_to(again.data(), kPageBytes, card->to_host());
    block.reset();
    pool->set_poison(true);
    pool->try_take(kPageBytes).reset();  // who does nothing with it is no reason to forget them
    auto next = pool->try_take(kPageBytes);
    next->begin_use();
    card->compute().fill(next->data(), 9, kPageBytes);
    const auto filled = card->compute().point();
    calls.settle();
    CATCH_CHECK(up.point()->reached());
    CATCH_CHECK_FALSE(filled->reached());
    calls.release(down_link);
  }
  calls.settle();
  CATCH_CHECK(down == from);
  CATCH_CHECK(again == from);
  {
    auto block = pool->try_take(kPageBytes);
    calls.hold(up_link);
    auto up = block->copy_from(from.data(), kPageBytes, card->to_device());
    block.reset();  // whose poison comes after the copy
    calls.release(up_link);
  }
  calls.settle();
  CATCH_CHECK(card->memory()[5] == std::byte{0xFF});
  CATCH_CHECK(calls.order.num_races() == 0);
}

CATCH_TEST_CASE("tier pool: a hollow one counts and has no memory", "[chunk]") {
  constexpr std::uint64_t kTerabyte = std::uint64_t{1} << 40;
  const auto pool = TierPool::create_hollow(Tier::kGpu, 3 * kTerabyte);
  auto first = pool->try_take(2 * kTerabyte);
  CATCH_REQUIRE(first);
  CATCH_CHECK(*first);
  first->clear();
  CATCH_CHECK(pool->used_bytes() == 2 * kTerabyte);
  CATCH_CHECK_FALSE(pool->try_take(kTerabyte + 1));
  CATCH_CHECK(pool->shortfall(2 * kTerabyte) == kTerabyte);
  const auto second = pool->take_beyond_limit(2 * kTerabyte);
  auto moved = std::move(*first);
  CATCH_CHECK_FALSE(*first);
  moved = Block();
  CATCH_CHECK(pool->used_bytes() == 2 * kTerabyte);
  CATCH_CHECK(pool->cached_bytes() == 0);
  CATCH_CHECK(pool->peak_used_bytes() == 4 * kTerabyte);
  const auto small = pool->try_take(1);
  CATCH_CHECK(small->bytes() == TierPool::charge(1));
}

CATCH_TEST_CASE("tier pool: large blocks start at pages, small ones at 64 bytes", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, TierPool::kUnlimited);
  for (const std::uint64_t bytes : {1UL, 63UL, 64UL, 65UL, 4095UL, 4096UL, 4097UL, 300000UL}) {
    const auto block = pool->try_take(bytes);
    CATCH_REQUIRE(block);
    CATCH_CHECK(block->bytes() == TierPool::charge(bytes));
    CATCH_CHECK(block->bytes() >= bytes);
    CATCH_CHECK(reinterpret_cast<std::uintptr_t>(block->data()) % (bytes < kPageBytes ? 64 : kPageBytes) == 0);
    std::fill_n(block->data(), block->bytes(), std::byte{1});
  }
}

CATCH_TEST_CASE("tier pool: a freed block is used again, and goes back before the limit is passed", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, 16 * kPageBytes);
  const std::uint64_t before = PageBlock::mapped_bytes();
  std::byte* address = nullptr;
  {
    const auto block = pool->try_take(8 * kPageBytes);
    address = block->data();
  }
  CATCH_CHECK(pool->cached_bytes() == 8 * kPageBytes);
  CATCH_CHECK(PageBlock::mapped_bytes() - before == 8 * kPageBytes);
  {
    const auto again = pool->try_take(8 * kPageBytes);
    CATCH_CHECK(again->data() == address);
    CATCH_CHECK(pool->cached_bytes() == 0);
  }
  {
    const auto other = pool->try_take(4 * kPageBytes);  // cut off the cached one
    CATCH_CHECK(other->data() == address);
    CATCH_CHECK(pool->cached_bytes() == 4 * kPageBytes);
    const auto third = pool->try_take(9 * kPageBytes);
    CATCH_CHECK(pool->cached_bytes() == 3 * kPageBytes);
    CATCH_CHECK(PageBlock::mapped_bytes() - before == 16 * kPageBytes);
  }
  pool->trim();
  CATCH_CHECK(pool->cached_bytes() == 0);
  CATCH_CHECK(PageBlock::mapped_bytes() == before);
}

CATCH_TEST_CASE("tier pool: a reservation counts and displaces cached blocks", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, 4 * kPageBytes);
  pool->try_take(4 * kPageBytes);
  auto reservation = pool->try_reserve(kPageBytes + 1);
  CATCH_REQUIRE(reservation);
  CATCH_CHECK(pool->cached_bytes() == 2 * kPageBytes);
  CATCH_CHECK(pool->used_bytes() == kPageBytes + 1);
  CATCH_CHECK_FALSE(pool->try_reserve(3 * kPageBytes));
  Reservation moved = std::move(*reservation);
  CATCH_CHECK(reservation->bytes() == 0);
  reservation.reset();
  CATCH_CHECK(pool->used_bytes() == kPageBytes + 1);
  moved = Reservation();
  CATCH_CHECK(pool->used_bytes() == 0);
}

CATCH_TEST_CASE("tier pool: blocks move with their bytes", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, TierPool::kUnlimited);
  Block first = *pool->try_take(kPageBytes), second = *pool->try_take(100);
  std::byte* const data = first.data();
  second = std::move(first);
  CATCH_CHECK(second.data() == data);
  CATCH_CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): it is what is tested
  CATCH_CHECK(pool->used_bytes() == kPageBytes);
  Block& same = second;
  second = std::move(same);
  CATCH_CHECK(second.data() == data);
}

CATCH_TEST_CASE("tier pool: beyond the limit on request only", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, 2 * kPageBytes);
  const Block block = pool->take_beyond_limit(3 * kPageBytes);
  CATCH_CHECK(block.bytes() == 3 * kPageBytes);
  CATCH_CHECK(pool->used_bytes() == 3 * kPageBytes);
  CATCH_CHECK_FALSE(pool->try_take(1));
  CATCH_CHECK(pool->shortfall(kPageBytes) == 2 * kPageBytes);
}

CATCH_TEST_CASE("tier pool: foreign bytes take from the limit, the largest stays, and the cache gives way", "[chunk]") {
  std::uint64_t foreign = kPageBytes;
  const auto pool = TierPool::create(Tier::kCpu, 8 * kPageBytes, [&] { return foreign; });
  CATCH_CHECK(pool->foreign_bytes() == kPageBytes);
  CATCH_CHECK_FALSE(pool->try_take(8 * kPageBytes));
  pool->try_take(7 * kPageBytes);
  CATCH_CHECK(pool->cached_bytes() == 7 * kPageBytes);
  foreign = 3 * kPageBytes;
  pool->refresh_foreign();
  CATCH_CHECK(pool->cached_bytes() == 5 * kPageBytes);
  pool->trim();
  foreign = 0;
  pool->refresh_foreign();
  CATCH_CHECK(pool->foreign_bytes() == 3 * kPageBytes);
  foreign = 5 * kPageBytes;  // is asked for before pages are mapped
  CATCH_CHECK_FALSE(pool->try_take(4 * kPageBytes));
  CATCH_CHECK(pool->try_take(3 * kPageBytes));
  CATCH_CHECK(pool->used_bytes() == 0);
}

CATCH_TEST_CASE("tier pool: the peak is of what was used, since the reset", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, TierPool::kUnlimited);
  auto one = pool->try_take(kPageBytes);
  pool->try_take(2 * kPageBytes);
  CATCH_CHECK(pool->peak_used_bytes() == 3 * kPageBytes);
  pool->reset_peak();
  CATCH_CHECK(pool->peak_used_bytes() == kPageBytes);
}

CATCH_TEST_CASE("tier pool: freed memory is poisoned on request", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, TierPool::kUnlimited);
  pool->set_poison(true);
  pool->try_take(kPageBytes);
  const auto again = pool->try_take(kPageBytes);
  CATCH_CHECK(
      std::all_of(again->data(), again->data() + kPageBytes, [](std::byte byte) { return byte == std::byte{0xFF}; }));
}

CATCH_TEST_CASE("tier pool: a block outlives the last other owner of its pool", "[chunk]") {
  auto pool = TierPool::create(Tier::kCpu, TierPool::kUnlimited);
  auto block = pool->try_take(kPageBytes);
  pool.reset();
  block->data()[0] = std::byte{1};
  block.reset();
}

// Takes and frees at random; its own books must agree with what it holds.
void walk(TierPool& pool, unsigned seed, std::atomic<std::uint64_t>& held_bytes) {
  std::mt19937_64 random(seed);
  std::vector<Block> blocks;
  std::vector<Reservation> reservations;
  for (int step = 0; step < 1500; ++step) {
    const auto kind = random() % 5;
    if (kind < 2) {
      if (auto block = pool.try_take(1 + random() % (random() % 2 ? 4096 : 6 * kPageBytes))) {
        held_bytes += block->bytes();
        blocks.push_back(std::move(*block));
      }
    } else if (kind == 2) {
      if (auto reservation = pool.try_reserve(random() % kPageBytes)) {
        held_bytes += reservation->bytes();
        reservations.push_back(std::move(*reservation));
      }
    } else if (kind == 3 && !blocks.empty()) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      held_bytes -= blocks.back().bytes();
      blocks.pop_back();
    } else if (!reservations.empty()) {
      held_bytes -= reservations.back().bytes();
      reservations.pop_back();
    }
  }
  for (const auto& block : blocks) held_bytes -= block.bytes();
  for (const auto& reservation : reservations) held_bytes -= reservation.bytes();
}

CATCH_TEST_CASE("tier pool: reservations add up to the used bytes, whoever takes and frees", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, 40 * kPageBytes);
  const std::uint64_t before = PageBlock::mapped_bytes();
  std::atomic<std::uint64_t> held_bytes{0};
  std::atomic<int> walking{3};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 3; ++seed)
    threads.emplace_back([&, seed] {
      walk(*pool, seed, held_bytes);
      --walking;
    });
  std::uint64_t most_mapped = 0, most_used = 0;
  while (walking > 0) {
    most_mapped = std::max(most_mapped, PageBlock::mapped_bytes() - before);
    most_used = std::max(most_used, pool->used_bytes());
  }
  for (auto& thread : threads) thread.join();
  CATCH_CHECK(held_bytes == 0);
  CATCH_CHECK(pool->used_bytes() == 0);
  CATCH_CHECK(most_used <= pool->limit_bytes());
  CATCH_CHECK(most_mapped <= pool->limit_bytes());
  CATCH_CHECK(pool->peak_used_bytes() <= pool->limit_bytes());
  CATCH_CHECK(pool->cached_bytes() <= pool->limit_bytes());
}

CATCH_TEST_CASE("tier pool: one walker's books are exact at every step", "[chunk]") {
  const auto pool = TierPool::create(Tier::kCpu, 30 * kPageBytes);
  std::mt19937_64 random(9);
  std::vector<Block> blocks;
  std::uint64_t held_bytes = 0;
  for (int step = 0; step < 2000; ++step) {
    if (random() % 2 || blocks.empty()) {
      const std::uint64_t bytes = 1 + random() % (8 * kPageBytes);
      auto block = pool->try_take(bytes);
      CATCH_REQUIRE(block.has_value() == (held_bytes + TierPool::charge(bytes) <= pool->limit_bytes()));
      if (!block) continue;
      held_bytes += block->bytes();
      blocks.push_back(std::move(*block));
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      held_bytes -= blocks.back().bytes();
      blocks.pop_back();
    }
    CATCH_REQUIRE(pool->used_bytes() == held_bytes);
    CATCH_REQUIRE(pool->used_bytes() + pool->cached_bytes() <= pool->limit_bytes());
  }
}

}  // namespace
}  // namespace asterias::chunk
