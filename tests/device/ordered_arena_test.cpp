// A range is handed out with the points that must be passed before it is used anew, and with no others.
#include "device/ordered_arena.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias::device {
namespace {

using End = ArenaBook::End;
constexpr std::uint64_t kGrain = ArenaBook::kGrain;

// A point that is reached when the test says so.
class OrderedPoint final : public StreamPoint {
 public:
  mutable bool is_reached = false;
  bool reached() const override { return is_reached; }
  void wait() const override { is_reached = true; }
};

std::shared_ptr<const OrderedPoint> make_point() { return std::make_shared<const OrderedPoint>(); }

}  // namespace

CATCH_TEST_CASE("a range that is used anew waits for its last use, until that is over") {
  std::vector<std::byte> memory(8 * kGrain);
  OrderedArena arena(memory.data(), memory.size());
  const auto range = arena.take(8 * kGrain, End::kLow);
  CATCH_REQUIRE(range.has_value());
  CATCH_CHECK(range->data == memory.data());
  CATCH_CHECK(range->after.empty());
  const auto use = make_point();
  arena.give_back(range->data, {use});
  const auto part = arena.take(kGrain, End::kHigh);
  CATCH_CHECK(part->after == std::vector<SharedPoint>{use});
  CATCH_CHECK(arena.after(part->data) == part->after);
  use->is_reached = true;
  CATCH_CHECK(arena.take(kGrain, End::kLow)->after.empty());
  CATCH_CHECK(arena.num_pending() == 0);
}

CATCH_TEST_CASE("a range of several neighbours waits for all of them, once for each point") {
  std::vector<std::byte> memory(6 * kGrain);
  OrderedArena arena(memory.data(), memory.size());
  const auto first = make_point(), second = make_point();
  std::vector<std::byte*> parts;
  for (int i = 0; i < 6; ++i) parts.push_back(arena.take(kGrain, End::kLow)->data);
  arena.give_back(parts[0], {first});
  arena.give_back(parts[1], {second, nullptr});
  arena.give_back(parts[2], {first});
  arena.give_back(parts[3], {nullptr});
  const auto range = arena.take(4 * kGrain, End::kLow);
  CATCH_CHECK(range->after == std::vector<SharedPoint>{first, second});
  CATCH_CHECK_THROWS_AS(arena.give_back(parts[1], {}), StateError);
  CATCH_CHECK_FALSE(arena.take(1, End::kLow).has_value());
}

CATCH_TEST_CASE("a random walk knows of every byte what it waits for") {
  constexpr std::size_t kGrains = 120;
  std::mt19937_64 random(93);
  std::vector<std::byte> memory(kGrains * kGrain);
  OrderedArena arena(memory.data(), memory.size());
  std::map<std::size_t, std::size_t> owned;                                   // grains by first grain
  std::vector<std::vector<std::shared_ptr<const OrderedPoint>>> of(kGrains);  // points of each grain
  std::vector<std::shared_ptr<const OrderedPoint>> points;
  for (int step = 0; step < 5000; ++step) {
    if (!points.empty() && random() % 3 == 0) points[random() % points.size()]->is_reached = true;
    if (owned.empty() || random() % 2) {
      const auto range = arena.take((1 + random() % 20) * kGrain, random() % 2 ? End::kLow : End::kHigh);
      if (!range) continue;
      const auto begin = static_cast<std::size_t>(range->data - memory.data()) / kGrain;
      const std::size_t count = range->bytes / kGrain;
      std::vector<SharedPoint> want;
      for (std::size_t grain = begin; grain < begin + count; ++grain)
        for (const auto& point : of[grain])
          if (!point->is_reached) want.push_back(point);
      const auto in_order = [](std::vector<SharedPoint> list) {
        std::sort(list.begin(), list.end());
        list.erase(std::unique(list.begin(), list.end()), list.end());
        return list;
      };
      CATCH_REQUIRE(in_order(range->after) == in_order(want));
      CATCH_REQUIRE(range->after.size() == in_order(range->after).size());
      owned.emplace(begin, count);
    } else {
      const auto victim = std::next(owned.begin(), static_cast<std::ptrdiff_t>(random() % owned.size()));
      if (random() % 4 == 0 || points.empty()) points.push_back(make_point());
      const auto& point = points[points.size() - 1 - random() % std::min<std::size_t>(points.size(), 5)];
      arena.give_back(memory.data() + victim->first * kGrain, {point});
      for (std::size_t grain = victim->first; grain < victim->first + victim->second; ++grain)
        of[grain].push_back(point);
      owned.erase(victim);
    }
  }
  for (const auto& point : points) point->is_reached = true;
  for (const auto& [begin, count] : owned) arena.give_back(memory.data() + begin * kGrain, {});
  CATCH_CHECK(arena.take(kGrains * kGrain, End::kLow)->after.empty());
  CATCH_CHECK(arena.num_pending() == 0);
}

}  // namespace asterias::device
