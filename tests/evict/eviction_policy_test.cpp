#include "evict/eviction_policy.hpp"

#include <map>

#include "tests/evict/eviction_policy_suite.hpp"

namespace asterias::evict::tests {
namespace {

CATCH_TEST_CASE("lru policy: only reorders", "[evict]") { check_only_reorders(make_lru_policy); }
CATCH_TEST_CASE("lru policy: deterministic", "[evict]") {
  check_order_does_not_depend_on_the_order_given(make_lru_policy);
}
CATCH_TEST_CASE("lru policy: ties", "[evict]") { check_ties_break_by_id(make_lru_policy); }
CATCH_TEST_CASE("lru policy: nothing foretold", "[evict]") { check_nothing_foretold_is_oldest_first(make_lru_policy); }
CATCH_TEST_CASE("lru policy: few", "[evict]") { check_few(make_lru_policy); }

CATCH_TEST_CASE("next-use policy: only reorders", "[evict]") { check_only_reorders(make_next_use_policy); }
CATCH_TEST_CASE("next-use policy: deterministic", "[evict]") {
  check_order_does_not_depend_on_the_order_given(make_next_use_policy);
}
CATCH_TEST_CASE("next-use policy: ties", "[evict]") { check_ties_break_by_id(make_next_use_policy); }
CATCH_TEST_CASE("next-use policy: nothing foretold", "[evict]") {
  check_nothing_foretold_is_oldest_first(make_next_use_policy);
}
CATCH_TEST_CASE("next-use policy: few", "[evict]") { check_few(make_next_use_policy); }

CATCH_TEST_CASE("next-use policy: furthest first, clean before dirty at equal distance", "[evict]") {
  std::vector<Candidate> candidates{{1, 0, false, 4096, 1, 5, 1},
                                    {2, 1, true, 4096, 9, 5, 1},
                                    {3, 2, false, 4096, 9, kNever, 1},
                                    {4, 3, true, 4096, 1, 4, 1}};
  make_next_use_policy()->rank(candidates);
  CATCH_CHECK(ids_of(candidates) == std::vector<std::uint64_t>{3, 2, 1, 4});
}

CATCH_TEST_CASE("fifo policy: only reorders", "[evict]") { check_only_reorders(make_fifo_policy); }
CATCH_TEST_CASE("fifo policy: deterministic", "[evict]") {
  check_order_does_not_depend_on_the_order_given(make_fifo_policy);
}
CATCH_TEST_CASE("fifo policy: ties", "[evict]") { check_ties_break_by_id(make_fifo_policy); }
CATCH_TEST_CASE("fifo policy: nothing foretold", "[evict]") {
  check_nothing_foretold_is_oldest_first(make_fifo_policy);
}
CATCH_TEST_CASE("fifo policy: few", "[evict]") { check_few(make_fifo_policy); }

CATCH_TEST_CASE("fifo policy: longest there first, whatever its uses", "[evict]") {
  std::vector<Candidate> candidates{
      {1, 0, true, 4096, 1, 9, 7}, {2, 1, false, 4096, 9, 2, 3}, {3, 2, true, 4096, 5, kNever, 5}};
  make_fifo_policy()->rank(candidates);
  CATCH_CHECK(ids_of(candidates) == std::vector<std::uint64_t>{2, 3, 1});
}

CATCH_TEST_CASE("static policy: only reorders", "[evict]") { check_only_reorders(make_static_policy); }
CATCH_TEST_CASE("static policy: deterministic", "[evict]") {
  check_order_does_not_depend_on_the_order_given(make_static_policy);
}
CATCH_TEST_CASE("static policy: ties", "[evict]") { check_ties_break_by_id(make_static_policy); }
CATCH_TEST_CASE("static policy: few", "[evict]") { check_few(make_static_policy); }

// ---- a cache of `capacity` equal things, against the fewest fetches that any choice can reach

using Accesses = std::vector<std::uint32_t>;

Moment next_use_of(const Accesses& accesses, std::uint32_t thing, std::size_t now) {
  for (std::size_t at = now + 1; at < accesses.size(); ++at)
    if (accesses[at] == thing) return static_cast<Moment>(at);
  return kNever;
}

int fetches_of(const EvictionPolicy& policy, const Accesses& accesses, std::size_t capacity) {
  std::map<std::uint32_t, std::uint64_t> last_use;  // of what is there
  int fetches = 0;
  for (std::size_t now = 0; now < accesses.size(); ++now) {
    if (!last_use.contains(accesses[now])) {
      ++fetches;
      if (last_use.size() == capacity) {
        std::vector<Candidate> candidates;
        for (const auto& [thing, used] : last_use)
          candidates.push_back({thing, thing, true, 4096, used, next_use_of(accesses, thing, now), used});
        policy.rank(candidates);
        last_use.erase(candidates.front().index);
      }
    }
    last_use[accesses[now]] = now;
  }
  return fetches;
}

// Tries every victim. `present` is a set of bits; known answers are kept.
int fewest_fetches(const Accesses& accesses, std::size_t capacity, std::size_t now, unsigned present,
                   std::map<std::pair<std::size_t, unsigned>, int>& known) {
  if (now == accesses.size()) return 0;
  const auto found = known.find({now, present});
  if (found != known.end()) return found->second;
  const unsigned wanted = 1U << accesses[now];
  int fewest = 1000;
  if ((present & wanted) != 0) {
    fewest = fewest_fetches(accesses, capacity, now + 1, present, known);
  } else if (static_cast<std::size_t>(__builtin_popcount(present)) < capacity) {
    fewest = 1 + fewest_fetches(accesses, capacity, now + 1, present | wanted, known);
  } else {
    for (unsigned victim = 1; victim <= present; victim <<= 1)
      if ((present & victim) != 0)
        fewest = std::min(fewest, 1 + fewest_fetches(accesses, capacity, now + 1, (present & ~victim) | wanted, known));
  }
  return known[{now, present}] = fewest;
}

CATCH_TEST_CASE("next-use policy: reaches the fewest fetches there are, and never more than lru", "[evict]") {
  std::mt19937_64 random(33);
  const auto next_use = make_next_use_policy(), lru = make_lru_policy();
  int saved = 0;
  for (int round = 0; round < 150; ++round) {
    Accesses accesses(30);
    for (auto& access : accesses) access = static_cast<std::uint32_t>(random() % 7);
    const std::size_t capacity = 2 + random() % 4;
    std::map<std::pair<std::size_t, unsigned>, int> known;
    const int fewest = fewest_fetches(accesses, capacity, 0, 0, known);
    CATCH_REQUIRE(fetches_of(*next_use, accesses, capacity) == fewest);
    CATCH_REQUIRE(fetches_of(*lru, accesses, capacity) >= fewest);
    saved += fetches_of(*lru, accesses, capacity) - fewest;
  }
  CATCH_CHECK(saved > 0);
}

CATCH_TEST_CASE("static policy: what fits keeps its place, the others always go", "[evict]") {
  const auto policy = make_static_policy();
  constexpr int kThings = 10, kRounds = 5;
  constexpr std::size_t kCapacity = 4;
  Accesses accesses;
  for (int round = 0; round < kRounds; ++round)
    for (std::uint32_t thing = 0; thing < kThings; ++thing) accesses.push_back(thing);
  // One place is what the others pass through; three stay from the first round on.
  const int passing = kThings - static_cast<int>(kCapacity) + 1;
  CATCH_CHECK(fetches_of(*policy, accesses, kCapacity) == kThings + (kRounds - 1) * passing);
  CATCH_CHECK(fetches_of(*make_lru_policy(), accesses, kCapacity) == kThings * kRounds);
}

}  // namespace
}  // namespace asterias::evict::tests
