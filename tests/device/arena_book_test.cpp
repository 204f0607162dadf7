// The books of one piece of memory: where takes lie, that they never overlap, and whom to move for room.
#include "device/arena_book.hpp"

#include <map>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias::device {
namespace {

using End = ArenaBook::End;
constexpr std::uint64_t kGrain = ArenaBook::kGrain;

const ArenaBook::Cost kFree = [](std::uint64_t, std::uint64_t) { return std::optional<std::uint64_t>(0); };

}  // namespace

CATCH_TEST_CASE("what stays and what passes are taken from the two ends") {
  ArenaBook book(100 * kGrain + 17);
  CATCH_CHECK(book.bytes() == 100 * kGrain);
  CATCH_CHECK(book.take(10 * kGrain, End::kLow) == 0);
  CATCH_CHECK(book.take(1, End::kHigh) == 99 * kGrain);
  CATCH_CHECK(book.take(10 * kGrain, End::kLow) == 10 * kGrain);
  CATCH_CHECK(book.take(5 * kGrain - 3, End::kHigh) == 94 * kGrain);
  CATCH_CHECK(book.taken_bytes() == 26 * kGrain);
  CATCH_CHECK(book.bytes_at(94 * kGrain) == 5 * kGrain);
  CATCH_CHECK(book.bytes_at(95 * kGrain) == 0);
}

CATCH_TEST_CASE("an arena is filled to the last grain and refuses one more") {
  ArenaBook book(64 * kGrain);
  CATCH_CHECK(book.take(64 * kGrain, End::kHigh) == 0);
  CATCH_CHECK_FALSE(book.take(1, End::kLow).has_value());
  CATCH_CHECK(book.largest_hole() == 0);
  book.give_back(0);
  CATCH_CHECK(book.largest_hole() == 64 * kGrain);
  CATCH_CHECK_FALSE(ArenaBook(0).take(1, End::kLow).has_value());
}

CATCH_TEST_CASE("the smallest hole is used, the nearest among equals") {
  ArenaBook book(100 * kGrain);
  std::vector<std::uint64_t> takes;
  for (int i = 0; i < 10; ++i) takes.push_back(*book.take(10 * kGrain, End::kLow));
  book.give_back(takes[1]);
  book.give_back(takes[4]);
  book.give_back(takes[5]);
  book.give_back(takes[8]);
  CATCH_CHECK(book.take(10 * kGrain, End::kHigh) == takes[8]);
  CATCH_CHECK(book.take(10 * kGrain, End::kLow) == takes[1]);
  CATCH_CHECK(book.take(15 * kGrain, End::kHigh) == takes[4] + 5 * kGrain);
}

CATCH_TEST_CASE("giving back what was not given out is our bug") {
  ArenaBook book(10 * kGrain);
  const std::uint64_t offset = *book.take(2 * kGrain, End::kLow);
  CATCH_CHECK_THROWS_AS(book.give_back(offset + kGrain), StateError);
  book.give_back(offset);
  CATCH_CHECK_THROWS_AS(book.give_back(offset), StateError);
  CATCH_CHECK_THROWS_AS(book.take(0, End::kLow), StateError);
}

CATCH_TEST_CASE("a random walk keeps takes apart and holes joined") {
  std::mt19937_64 random(91);
  for (int round = 0; round < 20; ++round) {
    ArenaBook book((200 + random() % 100) * kGrain);
    std::map<std::uint64_t, std::uint64_t> takes;
    for (int step = 0; step < 500; ++step) {
      if (takes.empty() || random() % 5 < 3) {
        const std::uint64_t bytes = 1 + random() % (20 * kGrain);
        const auto offset = book.take(bytes, random() % 2 ? End::kLow : End::kHigh);
        const std::uint64_t size = (bytes + kGrain - 1) / kGrain * kGrain;
        if (offset) takes.emplace(*offset, size);
        if (!offset) CATCH_CHECK(book.largest_hole() < size);
      } else {
        const auto victim = std::next(takes.begin(), static_cast<std::ptrdiff_t>(random() % takes.size()));
        book.give_back(victim->first);
        takes.erase(victim);
      }
      std::uint64_t at = 0, sum = 0, largest = 0;
      for (const auto& [offset, bytes] : takes) {
        CATCH_REQUIRE(offset >= at);
        largest = std::max(largest, offset - at);
        CATCH_REQUIRE(book.bytes_at(offset) == bytes);
        at = offset + bytes;
        sum += bytes;
      }
      largest = std::max(largest, book.bytes() - at);
      CATCH_REQUIRE(at <= book.bytes());
      CATCH_REQUIRE(book.taken_bytes() == sum);
      CATCH_REQUIRE(book.largest_hole() == largest);
    }
  }
}

CATCH_TEST_CASE("the cheapest window is what trying every one finds") {
  std::mt19937_64 random(92);
  for (int round = 0; round < 300; ++round) {
    ArenaBook book(60 * kGrain);
    std::vector<std::uint64_t> takes;
    while (const auto offset = book.take((1 + random() % 8) * kGrain, End::kLow)) takes.push_back(*offset);
    std::map<std::uint64_t, std::optional<std::uint64_t>> costs;
    std::map<std::uint64_t, std::uint64_t> pieces;  // bytes by offset, holes too
    for (std::uint64_t offset : takes) {
      pieces[offset] = book.bytes_at(offset);
      if (random() % 4 == 0)
        book.give_back(offset);
      else
        costs[offset] = random() % 5 == 0 ? std::nullopt : std::optional<std::uint64_t>(1 + random() % 9);
    }
    if (const std::uint64_t end = pieces.rbegin()->first + pieces.rbegin()->second; end < book.bytes())
      pieces[end] = book.bytes() - end;
    const std::uint64_t need = (1 + random() % 30) * kGrain;
    std::optional<std::uint64_t> cheapest;
    for (auto first = pieces.begin(); first != pieces.end(); ++first) {
      std::uint64_t bytes = 0, sum = 0;
      for (auto piece = first; piece != pieces.end() && bytes < need; ++piece) {
        const auto cost = costs.find(piece->first);
        if (cost != costs.end() && !cost->second) break;
        bytes += piece->second;
        sum += cost == costs.end() ? 0 : *cost->second;
      }
      if (bytes >= need && (!cheapest || sum < *cheapest)) cheapest = sum;
    }
    const auto window = book.window(need, [&](std::uint64_t offset, std::uint64_t) { return costs.at(offset); });
    CATCH_REQUIRE(window.has_value() == cheapest.has_value());
    if (!window) continue;
    CATCH_REQUIRE(window->cost == *cheapest);
    CATCH_REQUIRE(window->bytes >= need);
    for (const auto& [offset, cost] : costs)  // cleared, it holds the request
      if (offset >= window->offset && offset < window->offset + window->bytes) book.give_back(offset);
    CATCH_REQUIRE(book.largest_hole() >= need);
  }
}

CATCH_TEST_CASE("a window in an empty arena is the arena, and none is larger") {
  const ArenaBook book(10 * kGrain);
  const auto window = book.window(3 * kGrain, kFree);
  CATCH_REQUIRE(window.has_value());
  CATCH_CHECK(window->cost == 0);
  CATCH_CHECK_FALSE(book.window(11 * kGrain, kFree).has_value());
}

}  // namespace asterias::device
