#include "evict/hollow_tiers.hpp"

#include <memory>
#include <optional>

#include <catch2/catch.hpp>

namespace asterias::evict::tests {
namespace {

constexpr std::uint64_t kBytes = 4096;

SimulatedTiers three_tiers() {
  SimulatedTiers tiers;
  tiers.levels = {Tier::kGpu, Tier::kCpu, Tier::kNvme};
  tiers.room = {2 * kBytes, 3 * kBytes, 4 * kBytes};
  for (auto& edge : tiers.rates.edges) edge.bytes_per_second = 1e9;  // a byte takes a nanosecond
  return tiers;
}

CATCH_TEST_CASE("hollow tiers: a ticket is done when the clock has reached its end", "[evict]") {
  SimulatedClock clock(three_tiers().rates);
  const auto first = clock.transfer(Edge::kH2d, 100), second = clock.transfer(Edge::kH2d, 50),
             other_way = clock.transfer(Edge::kD2h, 120);
  clock.work(99);
  CATCH_CHECK_FALSE(first.done());
  clock.work(1);
  CATCH_CHECK(first.done());
  CATCH_CHECK_FALSE(second.done());
  clock.work(20);
  CATCH_CHECK(other_way.done());
  CATCH_CHECK_FALSE(second.done());
  clock.work(1000);
  CATCH_CHECK(second.done());
  CATCH_CHECK(clock.now_ns() == 1120);
}

CATCH_TEST_CASE("hollow tiers: who waits moves the clock, and passes what nobody waits for", "[evict]") {
  SimulatedClock clock(three_tiers().rates);
  auto first = clock.transfer(Edge::kNvmeRead, 100), second = clock.transfer(Edge::kNvmeWrite, 50),
       link = clock.transfer(Edge::kH2d, 70);
  clock.work(20);
  second.wait();  // the drive does one thing after the other
  CATCH_CHECK(clock.now_ns() == 70);
  CATCH_CHECK_FALSE(first.done());
  CATCH_CHECK(link.done());
  first.wait();  // goes on where it was
  CATCH_CHECK(clock.now_ns() == 150);
}

CATCH_TEST_CASE("hollow tiers: to hurry takes no time, and keeps its order", "[evict]") {
  SimulatedClock clock(three_tiers().rates);
  const auto first = clock.transfer(Edge::kH2d, 100), second = clock.transfer(Edge::kH2d, 50),
             third = clock.transfer(Edge::kH2d, 10);
  third.hurry();
  second.hurry();
  CATCH_CHECK(clock.now_ns() == 0);
  clock.work(10);
  CATCH_CHECK(third.done());
  clock.work(49);
  CATCH_CHECK_FALSE(second.done());
  clock.work(1);
  CATCH_CHECK(second.done());
  third.hurry();  // is over
  clock.work(99);
  CATCH_CHECK_FALSE(first.done());
  clock.work(1);
  CATCH_CHECK(first.done());
}

CATCH_TEST_CASE("hollow tiers: who waits for any end gets the next one", "[evict]") {
  auto rates = three_tiers().rates;
  rates.of(Edge::kD2h).latency_ns = 25;
  SimulatedClock clock(rates);
  const auto up = clock.transfer(Edge::kH2d, 100), down = clock.transfer(Edge::kD2h, 10),
             read = clock.transfer(Edge::kNvmeRead, 30);
  up.wait_until([&] { return up.done() || down.done() || read.done(); });
  CATCH_CHECK(clock.now_ns() == 30);
  CATCH_CHECK(read.done());
  up.wait_until([&] { return up.done() || down.done(); });
  CATCH_CHECK(clock.now_ns() == 35);
  up.wait_until([&] { return up.done(); });
  CATCH_CHECK(clock.now_ns() == 100);
}

CATCH_TEST_CASE("hollow tiers: who waits for a move of several transfers gets the end of the last", "[evict]") {
  SimulatedClock clock(three_tiers().rates);
  chunk::MoveTicket move(clock.transfer(Edge::kNvmeRead, 10));
  move.add(clock.transfer(Edge::kNvmeRead, 20));
  move.wait_until([&] { return move.done(); });
  CATCH_CHECK(clock.now_ns() == 30);
}

CATCH_TEST_CASE("hollow tiers: nobody waits for a ticket for ever", "[evict]") {
  std::optional<device::Ticket> late;
  {
    SimulatedClock clock(three_tiers().rates);
    late = clock.transfer(Edge::kH2d, 1'000'000);
  }
  CATCH_CHECK(late->done());
}

CATCH_TEST_CASE("hollow tiers: they hold what they are said to and move as fast", "[evict]") {
  const auto tiers = three_tiers();
  const auto clock = std::make_shared<SimulatedClock>(tiers.rates);
  const auto hierarchy = make_hollow_tiers(tiers, clock);
  CATCH_CHECK(hierarchy.levels() == tiers.levels);
  for (const Tier tier : tiers.levels)
    CATCH_CHECK(hierarchy.limit_bytes(tier) == tiers.room[static_cast<std::size_t>(tier)]);
  auto block = hierarchy.pool(Tier::kCpu).try_take(kBytes);
  CATCH_REQUIRE(block);
  const auto start = hierarchy.now();
  hierarchy.copy(Tier::kCpu, *block, *block, kBytes).wait();
  const auto extents = hierarchy.swap().try_take(kBytes);
  CATCH_REQUIRE(extents);
  hierarchy.swap().write(*extents, {block->data(), kBytes}).wait();
  CATCH_CHECK((hierarchy.now() - start) == std::chrono::nanoseconds(2 * kBytes));
  CATCH_CHECK_FALSE(hierarchy.swap().try_take(4 * kBytes));
}

CATCH_TEST_CASE("hollow tiers: only those that are named are there", "[evict]") {
  auto tiers = three_tiers();
  tiers.levels = {Tier::kCpu};
  const auto hierarchy = make_hollow_tiers(tiers, std::make_shared<SimulatedClock>(tiers.rates));
  CATCH_CHECK(hierarchy.compute_tier() == Tier::kCpu);
  CATCH_CHECK_FALSE(hierarchy.has_below(Tier::kCpu));
}

}  // namespace
}  // namespace asterias::evict::tests
