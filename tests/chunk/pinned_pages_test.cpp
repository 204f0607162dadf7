#include "chunk/pinned_pages.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "chunk/tier_pool.hpp"
#include "fake_pinner.hpp"

namespace asterias::chunk::tests {
namespace {

using device::kPageBytes;
using device::PageBlock;
using Pinned = TierPool::Pinned;

constexpr std::uint64_t kUnlimited = TierPool::kUnlimited;

// A pool of the cpu tier with a pinner that is looked at.
struct PinningPool {
  explicit PinningPool(std::uint64_t limit_pages, std::uint64_t pinned_limit = kUnlimited)
      : pool(TierPool::create(Tier::kCpu, limit_pages == 0 ? kUnlimited : limit_pages * kPageBytes)) {
    pool->pin_with(pinner, pinned_limit);
  }
  ~PinningPool() {
    pool.reset();
    CATCH_CHECK(pinner->pinned_bytes() == 0);
    CATCH_CHECK(pinner->num_wrong == 0);
  }

  // A block as what goes over the link has it.
  Block take_pinned(std::uint64_t pages) const {
    auto block = pool->try_take(pages * kPageBytes, TierPool::End::kHigh, Pinned::kFirst);
    CATCH_REQUIRE(block);
    block->pin();
    return std::move(*block);
  }
  bool is_pinned(const Block& block) const { return pinner->is_pinned(block.data(), block.bytes()); }

  std::shared_ptr<FakePinner> pinner = std::make_shared<FakePinner>();
  std::shared_ptr<TierPool> pool;
};

}  // namespace

CATCH_TEST_CASE("pinned pages: the last block of a size comes first, the one idle longest goes first", "[chunk]") {
  const auto pinner = std::make_shared<FakePinner>();
  PageCache plain;
  PinnedPages pinned(pinner, kUnlimited);
  std::vector<PageBlock> blocks;
  for (const std::uint64_t pages : {2, 3, 2, 3}) {
    blocks.emplace_back(pages * kPageBytes);
    CATCH_CHECK(pinned.pin(blocks.back(), plain));
  }
  std::vector<std::byte*> at;
  for (PageBlock& block : blocks) {
    at.push_back(block.data());
    pinned.put(std::move(block));
  }
  CATCH_CHECK(pinned.idle_bytes() == 10 * kPageBytes);
  CATCH_CHECK_FALSE(pinned.has(kPageBytes));
  CATCH_CHECK_FALSE(pinned.take(5 * kPageBytes));
  auto last = pinned.take(2 * kPageBytes);
  CATCH_REQUIRE(last);
  CATCH_CHECK(last->data() == at[2]);
  pinned.put(std::move(*last));
  for (const std::size_t next : {0, 1, 3, 2}) CATCH_CHECK(pinned.unpin_oldest().data() == at[next]);
  CATCH_CHECK(pinned.pinned_bytes() == 0);
  CATCH_CHECK(pinner->num_pins == 4);
}

CATCH_TEST_CASE("pinned pages: sizes that come no more do not pile up", "[chunk]") {
  const auto pinner = std::make_shared<FakePinner>();
  PageCache plain;
  PinnedPages pinned(pinner, kUnlimited);
  for (std::uint64_t pages = 1; pages < 40; ++pages) {  // one at a time, none as large as another
    PageBlock block(pages * kPageBytes);
    CATCH_CHECK(pinned.pin(block, plain));
    CATCH_CHECK(pinned.pinned_bytes() <= 2 * pages * kPageBytes);
    CATCH_CHECK(pinned.pinned_bytes() == pinner->pinned_bytes());
    pinned.put(std::move(block));
  }
  CATCH_CHECK(plain.bytes() + pinned.idle_bytes() == 39 * 40 / 2 * kPageBytes);  // their pages are not lost
}

CATCH_TEST_CASE("tier pool: a block that is copied is pinned, and stays so for whoever has it next", "[chunk]") {
  const PinningPool of(0);
  const auto held = of.take_pinned(9);
  std::byte* address = nullptr;
  {
    auto block = of.take_pinned(3);
    address = block.data();
    CATCH_CHECK(of.is_pinned(block));
    block.pin();
    auto moved = std::move(block);
    moved.pin();
    CATCH_CHECK(of.pool->pinned_bytes() == 12 * kPageBytes);
  }
  CATCH_CHECK(of.pool->cached_bytes() == 3 * kPageBytes);
  for (const std::uint64_t pages : {2, 4}) CATCH_CHECK(of.take_pinned(pages).data() != address);
  const auto again = of.take_pinned(3);
  CATCH_CHECK(again.data() == address);
  CATCH_CHECK(of.pinner->num_pins == 4);
}

CATCH_TEST_CASE("tier pool: who may not have pinned memory gets none", "[chunk]") {
  const PinningPool of(8);
  of.take_pinned(4);
  const auto other = of.pool->try_take(4 * kPageBytes);
  CATCH_REQUIRE(other);
  CATCH_CHECK_FALSE(of.pinner->is_touched(other->data(), other->bytes()));
  CATCH_CHECK(of.pool->pinned_bytes() == 4 * kPageBytes);
  const auto last = of.pool->try_take(4 * kPageBytes);  // there is no other room
  CATCH_REQUIRE(last);
  CATCH_CHECK_FALSE(of.pinner->is_touched(last->data(), last->bytes()));
  CATCH_CHECK(of.pool->pinned_bytes() == 0);
}

CATCH_TEST_CASE("tier pool: small blocks and hollow ones are not pinned", "[chunk]") {
  const PinningPool of(0);
  auto small = of.pool->try_take(100);
  small->pin();
  const auto hollow = TierPool::create_hollow(Tier::kCpu, kUnlimited);
  hollow->pin_with(of.pinner);
  hollow->try_take(kPageBytes)->pin();
  CATCH_CHECK(of.pinner->num_pins == 0);
}

CATCH_TEST_CASE("tier pool: pinned blocks that are free cost no request its room", "[chunk]") {
  const PinningPool of(8);
  const std::uint64_t before = PageBlock::mapped_bytes();
  for (const bool reserves : {false, true}) {
    {
      const auto plain = of.pool->try_take(2 * kPageBytes);
      const auto a = of.take_pinned(1), b = of.take_pinned(2), c = of.take_pinned(3);
    }
    CATCH_CHECK(of.pool->cached_bytes() == 8 * kPageBytes);
    CATCH_CHECK(of.pool->shortfall(8 * kPageBytes) == 0);
    {
      const auto two = of.pool->try_take(2 * kPageBytes);  // the plain one: nothing is unpinned for it
      CATCH_CHECK(of.pool->pinned_bytes() == 6 * kPageBytes);
    }
    if (reserves) {
      const auto reservation = of.pool->try_reserve(8 * kPageBytes);
      CATCH_CHECK(reservation);
      CATCH_CHECK(of.pool->cached_bytes() == 0);
      CATCH_CHECK(PageBlock::mapped_bytes() == before);
    } else {
      const auto block = of.pool->try_take(8 * kPageBytes);
      CATCH_CHECK(block);
      CATCH_CHECK(PageBlock::mapped_bytes() - before == 8 * kPageBytes);
    }
    CATCH_CHECK(of.pool->pinned_bytes() == 0);
  }
}

CATCH_TEST_CASE("tier pool: what foreign bytes need is unpinned, too", "[chunk]") {
  std::uint64_t foreign = 0;
  const auto pinner = std::make_shared<FakePinner>();
  const auto pool = TierPool::create(Tier::kCpu, 8 * kPageBytes, [&] { return foreign; });
  pool->pin_with(pinner);
  {
    auto block = pool->try_take(6 * kPageBytes, TierPool::End::kHigh, Pinned::kFirst);
    block->pin();
  }
  foreign = 3 * kPageBytes;
  pool->refresh_foreign();
  CATCH_CHECK(pool->cached_bytes() == 5 * kPageBytes);
  CATCH_CHECK(pinner->pinned_bytes() == 0);
}

CATCH_TEST_CASE("tier pool: beyond the pinned limit blocks are plain", "[chunk]") {
  const PinningPool of(0, 5 * kPageBytes + 1);
  auto first = of.take_pinned(3);
  const auto second = of.take_pinned(3);
  CATCH_CHECK(of.is_pinned(first));
  CATCH_CHECK_FALSE(of.is_pinned(second));
  const auto third = of.take_pinned(2);
  CATCH_CHECK(of.is_pinned(third));
  first = Block();
  const auto fourth = of.take_pinned(1);  // what is free gives way
  CATCH_CHECK(of.is_pinned(fourth));
  CATCH_CHECK(of.pool->pinned_bytes() == 3 * kPageBytes);
}

CATCH_TEST_CASE("tier pool: after a refusal blocks are plain and nothing more is tried", "[chunk][fault]") {
  const PinningPool of(0);
  of.pinner->most_pins = 2;
  auto first = of.take_pinned(2);
  const auto second = of.take_pinned(3), third = of.take_pinned(4), fourth = of.take_pinned(5);
  CATCH_CHECK(of.is_pinned(second));
  CATCH_CHECK_FALSE(of.is_pinned(third));
  CATCH_CHECK(of.pinner->num_refusals == 1);
  first = Block();
  CATCH_CHECK(of.is_pinned(of.take_pinned(2)));
  CATCH_CHECK(of.pinner->num_pins == 2);
}

CATCH_TEST_CASE("tier pool: trimmed and without a cache, what is free is unpinned", "[chunk]") {
  const PinningPool of(0);
  auto block = of.take_pinned(2);
  of.take_pinned(3);
  of.pool->trim();
  CATCH_CHECK(of.pool->cached_bytes() == 0);
  CATCH_CHECK(of.pinner->pinned_bytes() == 2 * kPageBytes);
  of.pool->stop_caching();
  block = Block();
  CATCH_CHECK(of.pinner->pinned_bytes() == 0);
}

CATCH_TEST_CASE("tier pool: a round that repeats pins in its first turn only", "[chunk]") {
  const bool is_tight = GENERATE(false, true);
  const PinningPool of(is_tight ? 30 : 0);
  for (int round = 0; round < 5; ++round) {
    std::vector<Block> slots, passing;
    for (int i = 0; i < 4; ++i) slots.push_back(of.take_pinned(4));
    for (int operators = 0; operators < 3; ++operators) {
      for (const std::uint64_t pages : {1, 2, 5}) passing.push_back(of.take_pinned(pages));
      const auto of_torch = of.pool->try_take(5 * kPageBytes + 10);
      CATCH_REQUIRE(of_torch);
      passing.clear();
    }
    CATCH_CHECK(of.pinner->num_pins == 7);
  }
}

// Takes, pins and frees at random; what the pool, the pinner and the walker hold agrees at every step.
CATCH_TEST_CASE("tier pool: books of pinned blocks are exact at every step", "[chunk]") {
  const bool is_limited = GENERATE(false, true);
  const std::uint64_t pinned_limit = is_limited ? 17 * kPageBytes : kUnlimited;
  const PinningPool of(40, pinned_limit);
  of.pool->set_poison(true);
  const std::uint64_t mapped_before = PageBlock::mapped_bytes();
  std::mt19937_64 random(is_limited);
  std::vector<Block> blocks;
  std::uint64_t held_bytes = 0, pinned_held_bytes = 0;
  for (int step = 0; step < 4000; ++step) {
    if (random() % 2 || blocks.empty()) {
      const auto pinned = random() % 3 ? Pinned::kFirst : Pinned::kNever;
      const std::uint64_t bytes = 1 + random() % (10 * kPageBytes);
      auto block = of.pool->try_take(bytes, TierPool::End::kHigh, pinned);
      CATCH_REQUIRE(block.has_value() == (held_bytes + TierPool::charge(bytes) <= of.pool->limit_bytes()));
      if (!block) continue;
      std::fill_n(block->data(), block->bytes(), std::byte{1});
      if (pinned == Pinned::kNever) CATCH_REQUIRE_FALSE(of.pinner->is_touched(block->data(), block->bytes()));
      if (pinned == Pinned::kFirst && random() % 2) block->pin();
      held_bytes += block->bytes();
      if (of.is_pinned(*block)) pinned_held_bytes += block->bytes();
      blocks.push_back(std::move(*block));
    } else {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      held_bytes -= blocks.back().bytes();
      if (of.is_pinned(blocks.back())) pinned_held_bytes -= blocks.back().bytes();
      blocks.pop_back();
    }
    CATCH_REQUIRE(of.pool->used_bytes() == held_bytes);
    CATCH_REQUIRE(of.pool->used_bytes() + of.pool->cached_bytes() <= of.pool->limit_bytes());
    CATCH_REQUIRE(PageBlock::mapped_bytes() - mapped_before <= of.pool->limit_bytes());
    CATCH_REQUIRE(of.pool->pinned_bytes() == of.pinner->pinned_bytes());
    CATCH_REQUIRE(of.pool->pinned_bytes() <= pinned_limit);
    CATCH_REQUIRE(of.pool->pinned_bytes() >= pinned_held_bytes);
    CATCH_REQUIRE(of.pool->pinned_bytes() - pinned_held_bytes <= of.pool->cached_bytes());
  }
  CATCH_CHECK(of.pinner->num_pins > 200);
}

}  // namespace asterias::chunk::tests
