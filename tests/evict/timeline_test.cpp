#include "evict/timeline.hpp"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias::evict {
namespace {

using Operators = std::vector<std::uint64_t>;

constexpr std::uint64_t kSignature = 77, kUpdate = 78;

Moment next_use(const Timeline& timeline, std::uint32_t chunk) {
  const auto use = timeline.next_use(TraceKey::of_chunk(chunk));
  return use ? use->at : kNever;
}

void use_chunk(Timeline& timeline, std::uint32_t chunk, Tier tier = Tier::kGpu, Access access = Access::kRead) {
  timeline.on_use(TraceKey::of_chunk(chunk), tier, access);
}

// An update of chunks 1 to `count`, at moments 1 to `count`.
void run_update(Timeline& timeline, std::uint32_t count) {
  timeline.begin_update(kUpdate);
  for (std::uint32_t chunk = 1; chunk <= count; ++chunk) {
    timeline.on_operator(chunk);
    use_chunk(timeline, chunk, Tier::kCpu, Access::kWrite);
  }
  timeline.end_update();
}

// One pass in which chunk c (its number) is used at the moments given.
void run_pass(Timeline& timeline, const Operators& operators,
              const std::vector<std::pair<Moment, std::uint32_t>>& uses = {}, std::uint64_t signature = kSignature) {
  timeline.begin_pass(signature);
  for (std::size_t i = 0; i <= operators.size(); ++i) {
    if (i > 0) timeline.on_operator(operators[i - 1]);
    for (const auto& [moment, chunk] : uses)
      if (moment == i) use_chunk(timeline, chunk);
  }
  timeline.end_pass();
}

CATCH_TEST_CASE("timeline: the first pass is recorded, the same again is followed", "[evict]") {
  Timeline timeline;
  timeline.begin_pass(kSignature);
  CATCH_CHECK(timeline.in_pass());
  CATCH_CHECK_FALSE(timeline.is_foretold());
  CATCH_CHECK(next_use(timeline, 1) == kNever);
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
  CATCH_CHECK(next_use(timeline, 5) == 3);
  timeline.on_operator(8);
  timeline.on_operator(9);
  CATCH_CHECK(timeline.num_diverged() == 1);
  CATCH_CHECK(next_use(timeline, 5) == kNever);
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
  use_chunk(timeline, 1);
  CATCH_CHECK(timeline.now() == 0);
  CATCH_CHECK_FALSE(timeline.on_birth().is_named());
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  timeline.suspend();
  timeline.suspend();
  timeline.on_operator(50);
  timeline.resume();
  use_chunk(timeline, 3);
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
  constexpr std::uint32_t kEarly = 1, kLate = 2, kUnused = 3;
  Timeline timeline;
  for (int step = 0; step < 2; ++step) {
    run_pass(timeline, {1, 2, 3, 4}, {{1, kEarly}, {3, kEarly}, {4, kLate}});
    run_update(timeline, 3);
  }
  constexpr Moment kPass = 5, kStep = kPass + 4;
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  CATCH_CHECK(next_use(timeline, kEarly) == 3);
  CATCH_CHECK(next_use(timeline, kLate) == 4);
  CATCH_CHECK(next_use(timeline, kUnused) == kPass + kUnused);
  CATCH_CHECK(next_use(timeline, 4) == kNever);
  for (std::uint64_t hash = 2; hash <= 4; ++hash) timeline.on_operator(hash);
  CATCH_CHECK(next_use(timeline, kEarly) == kPass + kEarly);
  const auto update = timeline.next_use(TraceKey::of_chunk(kLate));
  CATCH_REQUIRE(update);
  CATCH_CHECK(update->tier == Tier::kCpu);
  CATCH_CHECK(update->access == Access::kWrite);
  timeline.end_pass();
  timeline.begin_update(kUpdate);
  timeline.on_operator(1);
  CATCH_CHECK(next_use(timeline, kEarly) == 4 + 1);
  CATCH_CHECK(next_use(timeline, kLate) == kLate);
  CATCH_CHECK(next_use(timeline, kUnused) == kUnused);
  timeline.on_operator(2);
  timeline.on_operator(3);
  timeline.end_update();
  CATCH_CHECK(next_use(timeline, kUnused) == kStep + kUnused);
  CATCH_CHECK(timeline.num_recorded() == 1);  // passes
}

CATCH_TEST_CASE("timeline: what follows is what followed when the same came before", "[evict]") {
  Timeline timeline;
  const auto first = [&] { run_pass(timeline, {1}, {{1, 1}}, 100); };
  const auto later = [&] { run_pass(timeline, {2}, {{1, 2}}, 200); };
  for (int step = 0; step < 3; ++step) {
    first();
    later();
    later();
    run_update(timeline, 3);
  }
  first();  // [100: moments 0 1] [200: 2 3] [200: 4 5] [update: 6 7 8 9] [100: 10 11]
  CATCH_CHECK(next_use(timeline, 2) == 3);
  CATCH_CHECK(next_use(timeline, 3) == 9);
  CATCH_CHECK(next_use(timeline, 1) == 7);
  later();  // [200: 0 1] [200: 2 3] [update: 4 5 6 7]
  CATCH_CHECK(next_use(timeline, 2) == 3);
  CATCH_CHECK(next_use(timeline, 3) == 7);
  later();  // [200: 0 1] [update: 2 3 4 5] [100: 6 7] [200: 8 9]
  CATCH_CHECK(next_use(timeline, 2) == 4);
  CATCH_CHECK(next_use(timeline, 1) == 3);
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
    for (int step = 0; step < 2; ++step) {
      run_pass(timeline, operators, uses);
      run_update(timeline, kChunks);
    }
    const Moment period = length + kChunks + 1;
    const auto is_used = [&](std::uint32_t chunk, Moment at) {
      const Moment phase = at % period;
      if (phase > length && phase - length == chunk) return true;
      return std::find(uses.begin(), uses.end(), std::pair{phase, chunk}) != uses.end();
    };
    const auto truth = [&](std::uint32_t chunk, Moment now) {
      for (Moment at = now + 1; at < now + 2 * period; ++at)
        if (is_used(chunk, at)) return at;
      return kNever;
    };
    const auto check = [&](Moment now) {  // counted from the pass' beginning
      const Moment base = now - timeline.now();
      for (std::uint32_t chunk = 1; chunk <= kChunks; ++chunk) {
        CATCH_REQUIRE(next_use(timeline, chunk) > timeline.now());
        CATCH_REQUIRE(next_use(timeline, chunk) + base == truth(chunk, now));
      }
      Timeline::Cursor cursor;
      for (Moment at = now + 1; at < base + period; ++at)
        for (std::uint32_t left = 0; left < kChunks; ++left) {
          std::uint32_t num_used = 0;
          for (std::uint32_t chunk = 1; chunk <= kChunks; ++chunk) num_used += is_used(chunk, at);
          if (left >= num_used) break;
          const auto use = timeline.look(cursor);
          CATCH_REQUIRE(use);
          CATCH_REQUIRE(use->at + base == at);
          CATCH_REQUIRE(is_used(static_cast<std::uint32_t>(use->key.value()), at));
          Timeline::advance(cursor);
        }
    };
    check(timeline.now() + length);
    timeline.begin_pass(kSignature);
    for (Moment now = 0; now < length; ++now) {
      if (now > 0) timeline.on_operator(operators[now - 1]);
      CATCH_REQUIRE(timeline.now() == now);
      check(now);
    }
    timeline.end_pass();
    timeline.begin_update(kUpdate);
    check(length);
    for (std::uint32_t chunk = 1; chunk <= kChunks; ++chunk) {
      timeline.on_operator(chunk);
      check(length + chunk);
    }
  }
}

CATCH_TEST_CASE("timeline: a cursor goes on from segment to segment, and back when they come otherwise", "[evict]") {
  Timeline timeline;
  for (int step = 0; step < 2; ++step) {
    run_pass(timeline, {1, 2}, {{1, 1}, {2, 2}});
    run_update(timeline, 2);
  }
  timeline.begin_pass(kSignature);  // moments 0 1 2, the update 3 4 5
  Timeline::Cursor cursor;
  const auto next = [&] {
    const auto use = timeline.look(cursor);
    Timeline::advance(cursor);
    return use ? use->at : kNever;
  };
  CATCH_CHECK(next() == 1);
  CATCH_CHECK(next() == 2);
  CATCH_CHECK(next() == 4);
  timeline.go_back(cursor, 2);
  CATCH_CHECK(next() == 2);
  timeline.go_back(cursor, 5);  // not beyond it
  CATCH_CHECK(next() == 4);
  timeline.on_operator(1);
  timeline.on_operator(2);
  timeline.end_pass();
  timeline.begin_update(kUpdate);
  CATCH_CHECK(next() == 2);  // the first chunk was passed
  timeline.on_operator(9);   // another one
  CATCH_CHECK(next() == kNever);
  timeline.end_update();
  CATCH_CHECK(next() == 3);  // the update has two moments now, and the next pass begins
}

CATCH_TEST_CASE("timeline: what an update uses is not what it was", "[evict]") {
  Timeline timeline;
  for (int step = 0; step < 2; ++step) {
    run_pass(timeline, {1, 2}, {{1, 1}, {2, 3}});
    run_update(timeline, 2);
  }
  timeline.begin_pass(kSignature);
  timeline.on_operator(1);
  const auto use = [](std::uint32_t chunk, Moment at) {
    return Use{at, TraceKey::of_chunk(chunk), Tier::kGpu, Access::kRead};
  };
  CATCH_CHECK_FALSE(timeline.updated_before(use(1, 2)).has_value());
  CATCH_CHECK(timeline.updated_before(use(1, 7)) == Tier::kCpu);
  CATCH_CHECK_FALSE(timeline.updated_before(use(3, 8)).has_value());
  timeline.on_operator(2);
  timeline.end_pass();
  timeline.begin_update(kUpdate);
  timeline.on_operator(1);
  timeline.on_operator(2);
  CATCH_CHECK_FALSE(timeline.updated_before(use(1, 4)).has_value());  // done with
  CATCH_CHECK(timeline.updated_before(use(2, 4)) == Tier::kCpu);
}

CATCH_TEST_CASE("timeline: how much more will live", "[evict]") {
  Timeline timeline;
  for (int step = 0; step < 2; ++step) {
    timeline.begin_pass(kSignature);
    for (const std::uint64_t live : {10, 50, 20}) {
      timeline.on_operator(live);
      timeline.on_live(live / 2);
      timeline.on_live(live);
    }
    timeline.end_pass();
  }
  timeline.begin_pass(kSignature);
  timeline.on_operator(10);
  CATCH_CHECK(timeline.growth_until(2) == 40);
  CATCH_CHECK(timeline.growth_until(3) == 40);
  timeline.on_operator(50);
  CATCH_CHECK(timeline.growth_until(3) == 0);
  timeline.on_operator(20);
  CATCH_CHECK(timeline.growth_until(5) == 0);
  CATCH_CHECK(timeline.growth_until(99) == 30);  // of the next pass
}

CATCH_TEST_CASE("timeline: what was used now, and when the uses to come will be", "[evict]") {
  Timeline timeline;
  const auto used_now = [&] {
    std::vector<std::uint64_t> keys;
    for (const Use& use : timeline.used_now()) keys.push_back(use.key.value());
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
  use_chunk(timeline, 6);
  use_chunk(timeline, 5);
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
