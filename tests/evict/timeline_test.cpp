#include "evict/timeline.hpp"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias::evict {
namespace {

using Operators = std::vector<std::uint64_t>;

constexpr std::uint64_t kSignature = 77;

// One pass in which chunk c (its number) is used at the moments given.
void run_pass(Timeline& timeline, const Operators& operators,
              const std::vector<std::pair<Moment, std::uint32_t>>& uses = {}, std::uint64_t signature = kSignature) {
  timeline.begin_pass(signature);
  for (std::size_t i = 0; i <= operators.size(); ++i) {
    if (i > 0) timeline.on_operator(operators[i - 1]);
    for (const auto& [moment, chunk] : uses)
      if (moment == i) timeline.on_use(TraceKey::of_chunk(chunk));
  }
  timeline.end_pass();
}

CATCH_TEST_CASE("timeline: the first pass is recorded, the same again is followed", "[evict]") {
  Timeline timeline;
  timeline.begin_pass(kSignature);
  CATCH_CHECK(timeline.in_pass());
  CATCH_CHECK_FALSE(timeline.is_foretold());
  CATCH_CHECK(timeline.next_use(TraceKey::of_chunk(1), -1) == kNever);
  timeline.end_pass();
  run_pass(timeline, {1, 2, 3});
  CATCH_CHECK(timeline.num_recorded() == 2);
  for (int i = 0; i < 3; ++i) run_pass(timeline, {1, 2, 3});
  CATCH_CHECK(timeline.num_recorded() == 2);
  CATCH_CHECK(timeline.is_foretold());
  CATCH_REQUIRE(timeline.plan());
  CATCH_CHECK(timeline.plan()->length() == 4);
}

CATCH_TEST_CASE("timeline: a pass that leaves its trace is recorded anew", "[evict]") {
  struct Case {
    const char* what;
    Operators operators;
    bool is_seen_within;  // a shorter pass is known only at its end
  };
  for (const auto& [what, operators, is_seen_within] :
       {Case{"another operator", {1, 9, 3}, true}, Case{"longer", {1, 2, 3, 4}, true},
        Case{"shorter", {1, 2}, false}}) {
    CATCH_CAPTURE(what);
    Timeline timeline;
    run_pass(timeline, {1, 2, 3});
    timeline.begin_pass(kSignature);
    for (const auto hash : operators) timeline.on_operator(hash);
    CATCH_CHECK(timeline.is_foretold() == !is_seen_within);
    CATCH_CHECK(timeline.num_diverged() == (is_seen_within ? 1 : 0));
    timeline.end_pass();
    CATCH_CHECK(timeline.num_recorded() == 2);
    run_pass(timeline, operators);
    CATCH_CHECK(timeline.num_recorded() == 2);
    CATCH_CHECK(timeline.plan()->length() == operators.size() + 1);
  }
}

CATCH_TEST_CASE("timeline: a divergence is counted once and nothing is foretold after it", "[evict]") {
  Timeline timeline;
  run_pass(timeline, {1, 2, 3}, {{3, 5}});
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  CATCH_CHECK(timeline.next_use(TraceKey::of_chunk(5), -1) == 3);
  timeline.on_operator(8);
  timeline.on_operator(9);
  CATCH_CHECK(timeline.num_diverged() == 1);
  CATCH_CHECK(timeline.next_use(TraceKey::of_chunk(5), 0) == kNever);
}

CATCH_TEST_CASE("timeline: signatures have traces of their own", "[evict]") {
  Timeline timeline;
  run_pass(timeline, {1, 2}, {}, 100);
  run_pass(timeline, {7, 8, 9}, {}, 200);
  run_pass(timeline, {1, 2}, {}, 100);
  run_pass(timeline, {7, 8, 9}, {}, 200);
  CATCH_CHECK(timeline.num_recorded() == 2);
  CATCH_CHECK(timeline.num_diverged() == 0);
}

CATCH_TEST_CASE("timeline: the oldest of many traces is forgotten", "[evict]") {
  Timeline timeline;
  for (std::uint64_t signature = 0; signature < 65; ++signature) run_pass(timeline, {signature}, {}, signature);
  CATCH_CHECK(timeline.num_recorded() == 65);
  run_pass(timeline, {64}, {}, 64);
  run_pass(timeline, {1}, {}, 1);
  CATCH_CHECK(timeline.num_recorded() == 65);
  run_pass(timeline, {0}, {}, 0);
  CATCH_CHECK(timeline.num_recorded() == 66);
}

CATCH_TEST_CASE("timeline: an abandoned pass leaves no trace", "[evict]") {
  Timeline timeline;
  run_pass(timeline, {1, 2});
  timeline.begin_pass(kSignature);
  timeline.on_operator(5);
  timeline.abandon_pass();
  CATCH_CHECK_FALSE(timeline.in_pass());
  CATCH_CHECK_FALSE(timeline.is_foretold());
  timeline.end_pass();  // nothing is open
  run_pass(timeline, {1, 2});
  CATCH_CHECK(timeline.num_recorded() == 1);
}

CATCH_TEST_CASE("timeline: a pass that begins within another ends it", "[evict]") {
  Timeline timeline;
  timeline.begin_pass(1);
  timeline.on_operator(4);
  timeline.begin_pass(2);
  CATCH_CHECK(timeline.num_recorded() == 1);
  CATCH_CHECK(timeline.now() == 0);
}

CATCH_TEST_CASE("timeline: outside a pass and while suspended, time stands still", "[evict]") {
  Timeline timeline;
  timeline.on_operator(1);
  timeline.on_need(100);
  timeline.on_use(TraceKey::of_chunk(1));
  CATCH_CHECK(timeline.now() == 0);
  CATCH_CHECK_FALSE(timeline.on_birth().is_named());
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  timeline.suspend();
  timeline.suspend();
  timeline.on_operator(50);
  timeline.resume();
  timeline.on_use(TraceKey::of_chunk(3));
  timeline.on_need(1000);
  CATCH_CHECK_FALSE(timeline.on_birth().is_named());
  timeline.resume();
  timeline.on_operator(2);
  timeline.end_pass();
  run_pass(timeline, {1, 2});
  CATCH_CHECK(timeline.num_recorded() == 1);
  CATCH_CHECK(timeline.plan()->uses.empty());
  CATCH_CHECK(timeline.plan()->peak_need_bytes() == 0);
}

CATCH_TEST_CASE("timeline: births are named by moment and order, the same in every pass", "[evict]") {
  Timeline timeline;
  std::vector<std::uint64_t> first, second;
  for (auto* names : {&first, &second}) {
    timeline.begin_pass(kSignature);
    for (std::uint64_t hash = 1; hash < 4; ++hash) {
      timeline.on_operator(hash);
      for (std::uint64_t i = 0; i < hash; ++i) names->push_back(timeline.on_birth().value());
    }
    timeline.end_pass();
  }
  CATCH_CHECK(first == second);
  std::sort(first.begin(), first.end());
  CATCH_CHECK(std::adjacent_find(first.begin(), first.end()) == first.end());
}

CATCH_TEST_CASE("timeline: the need of a moment is its largest", "[evict]") {
  Timeline timeline;
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  timeline.on_need(10);
  timeline.on_need(30);
  timeline.on_need(20);
  timeline.on_operator(2);
  timeline.on_need(5);
  timeline.end_pass();
  CATCH_CHECK(timeline.plan()->moments[1].need_bytes == 30);
  CATCH_CHECK(timeline.plan()->moments[2].need_bytes == 5);
  CATCH_CHECK(timeline.plan()->peak_need_bytes() == 30);
}

CATCH_TEST_CASE("timeline: the next use is in this pass, else in the update, else in the next pass", "[evict]") {
  Timeline timeline;
  const TraceKey early = TraceKey::of_chunk(1), late = TraceKey::of_chunk(2), unused = TraceKey::of_chunk(3);
  run_pass(timeline, {1, 2, 3, 4}, {{1, 1}, {3, 1}, {4, 2}});
  constexpr Moment kLength = 5;
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  CATCH_CHECK(timeline.next_use(early, 0) == 3);
  CATCH_CHECK(timeline.next_use(late, 1) == 4);
  CATCH_CHECK(timeline.next_use(unused, 2) == kLength + 2);
  CATCH_CHECK(timeline.next_use(unused, -1) == kNever);
  for (std::uint64_t hash = 2; hash <= 4; ++hash) timeline.on_operator(hash);
  CATCH_CHECK(timeline.next_use(early, 0) == kLength + 0);
  timeline.end_pass();
  timeline.on_update(0, 3);
  const Moment early_again = timeline.next_use(early, 0);
  CATCH_CHECK(early_again > kLength + 2);  // the next pass
  CATCH_CHECK(early_again != kNever);
  CATCH_CHECK(timeline.next_use(late, 1) == kLength + 1);
  CATCH_CHECK(timeline.next_use(late, -1) > early_again);
  timeline.end_update();
  CATCH_CHECK(timeline.next_use(unused, 2) > timeline.next_use(late, 1));
}

// A brute force over "the same pass and update for ever" against what the timeline says, and its first invariant.
CATCH_TEST_CASE("timeline: foretold orders are the true ones", "[evict]") {
  std::mt19937_64 random(21);
  for (int round = 0; round < 60; ++round) {
    constexpr std::uint32_t kChunks = 5;
    const auto length = static_cast<Moment>(2 + random() % 12);
    Operators operators(length - 1);
    std::vector<std::pair<Moment, std::uint32_t>> uses;
    for (std::uint32_t chunk = 1; chunk <= kChunks; ++chunk)
      for (Moment moment = 0; moment < length; ++moment)
        if (random() % 4 == 0) uses.push_back({moment, chunk});
    Timeline timeline;
    run_pass(timeline, operators, uses);
    timeline.on_update(kChunks - 1, kChunks);  // the timeline learns the count
    timeline.end_update();
    const Moment period = length + kChunks + 1;
    const auto truth = [&](std::uint32_t chunk, Moment now) {
      for (Moment at = now + 1; at < now + 2 * period; ++at) {
        const Moment phase = at % period;
        if (phase >= length && phase - length == chunk - 1) return at;
        for (const auto& use : uses)
          if (use.first == phase && use.second == chunk) return at;
      }
      return kNever;
    };
    const auto check = [&](Moment now) {
      for (std::uint32_t chunk = 1; chunk <= kChunks; ++chunk) {
        const Moment next = timeline.next_use(TraceKey::of_chunk(chunk), chunk - 1);
        CATCH_REQUIRE(next > timeline.now());
        CATCH_REQUIRE(next == truth(chunk, now));
      }
    };
    check(timeline.now());
    timeline.begin_pass(kSignature);
    for (Moment now = 0; now < length; ++now) {
      if (now > 0) timeline.on_operator(operators[now - 1]);
      CATCH_REQUIRE(timeline.now() == now);
      check(now);
    }
    timeline.end_pass();
    for (std::uint32_t index = 0; index < kChunks; ++index) {
      timeline.on_update(index, kChunks);
      check(length + index);
    }
  }
}

CATCH_TEST_CASE("timeline: what was used now, and when the uses to come will be", "[evict]") {
  Timeline timeline;
  const auto used_now = [&] {
    std::vector<std::uint64_t> keys;
    timeline.visit_used_now([&](TraceKey key) { keys.push_back(key.value()); });
    std::sort(keys.begin(), keys.end());
    return keys;
  };
  const auto key = [](std::uint32_t chunk) { return TraceKey::of_chunk(chunk); };
  run_pass(timeline, {1, 2, 3}, {{1, 5}, {1, 6}, {3, 5}});
  timeline.begin_pass(kSignature);
  CATCH_CHECK(used_now().empty());
  CATCH_CHECK(timeline.moment_of_upcoming(1) == 1);
  CATCH_CHECK(timeline.moment_of_upcoming(2) == 1);
  CATCH_CHECK(timeline.moment_of_upcoming(3) == 3);
  CATCH_CHECK(timeline.moment_of_upcoming(4) == kNever);
  timeline.on_operator(1);
  timeline.on_use(key(6));
  timeline.on_use(key(5));
  CATCH_CHECK(used_now() == std::vector{key(5).value(), key(6).value()});
  CATCH_CHECK(timeline.moment_of_upcoming(1) == 3);
  timeline.suspend();
  CATCH_CHECK(used_now().empty());
  CATCH_CHECK(timeline.moment_of_upcoming(1) == kNever);
  timeline.resume();
  timeline.on_operator(9);  // another operator than foretold
  CATCH_CHECK(used_now().empty());
  CATCH_CHECK(timeline.moment_of_upcoming(1) == kNever);
}

}  // namespace
}  // namespace asterias::evict
