#include "evict/chunk_size.hpp"

#include <algorithm>
#include <map>
#include <random>

#include <catch2/catch.hpp>

#include "evict/eviction_policy.hpp"
#include "evict/simulator.hpp"
#include "tests/evict/script_builder.hpp"

namespace asterias::evict::tests {
namespace {

constexpr std::uint64_t kBytes = 8192;

std::map<ContentKind, std::uint64_t> bytes_by_kind(const PassScript& script) {
  std::map<ContentKind, std::uint64_t> bytes;
  for (const auto& actor : script.actors) bytes[actor.kind] += actor.bytes;
  return bytes;
}

std::uint64_t count(const PassScript& script, What what) {
  return static_cast<std::uint64_t>(
      std::count_if(script.events.begin(), script.events.end(), [&](auto& event) { return event.what == what; }));
}

std::uint64_t update_ns(const PassScript& script) {
  std::uint64_t sum = 0;
  for (const auto& work : script.updates) sum += work.ns;
  return sum;
}

SimulatedTiers roomy_tiers() {
  SimulatedTiers tiers;
  tiers.levels = {Tier::kGpu, Tier::kCpu};
  tiers.room = {UINT64_MAX, UINT64_MAX, 0};
  return tiers;
}

// Three chunks of a parameter and a gradient, the first two used by one operator.
PassScript three_chunks() {
  ScriptBuilder builder;
  std::vector<std::uint32_t> params, grads;
  for (std::int64_t place = 0; place < 3; ++place) {
    params.push_back(builder.add_chunk(kBytes, Tier::kCpu, place));
    grads.push_back(builder.add_chunk(kBytes, Tier::kCpu, place, ContentKind::kGrad));
    builder.update_takes(static_cast<std::size_t>(place), 100);
  }
  builder.run(10, {params[0], params[1]}).run(10, {params[2]});
  builder.run(10, {params[2]}, {grads[2]}).ready(params[2]);
  builder.run(10, {params[1]}, {grads[1]}).ready(params[1]);
  builder.run(10, {params[0]}, {grads[0]}).ready(params[0]);
  return builder.script();
}

CATCH_TEST_CASE("chunk size: neighbours become one, and are used, final and updated at once", "[evict]") {
  const PassScript script = three_chunks(), larger = with_larger_chunks(script);
  CATCH_REQUIRE(larger.actors.size() == 4);
  CATCH_CHECK(bytes_by_kind(larger) == bytes_by_kind(script));
  CATCH_CHECK(larger.actors[0].bytes == 2 * kBytes);
  CATCH_CHECK(larger.actors[2].bytes == kBytes);
  CATCH_CHECK(count(larger, What::kRead) == count(script, What::kRead) - 1);  // the first operator's
  CATCH_CHECK(count(larger, What::kWrite) == count(script, What::kWrite));
  CATCH_REQUIRE(larger.updates.size() == 2);
  CATCH_CHECK((larger.updates[0].ns == 200 && larger.updates[1].ns == 100));
  CATCH_REQUIRE(count(larger, What::kReady) == 2);
  const auto last_ready = std::find_if(larger.events.rbegin(), larger.events.rend(),
                                       [](auto& event) { return event.what == What::kReady; });
  CATCH_CHECK(larger.actors[last_ready->actor].bytes == 2 * kBytes);
  CATCH_CHECK(last_ready + 1 != larger.events.rend());
  CATCH_CHECK((last_ready - 1)->what == What::kEndPass);  // when the second of them was
}

CATCH_TEST_CASE("chunk size: chunks that lie apart, or are updated apart, stay apart", "[evict]") {
  PassScript script = three_chunks();
  for (auto& actor : script.actors)
    if (actor.update_index == 1) actor.update_tier = Tier::kGpu;
  CATCH_CHECK(with_larger_chunks(script).actors.size() == 6);
  script = three_chunks();
  for (auto& actor : script.actors)
    if (actor.update_index == 0) actor.there = {true, false, false};
  const PassScript larger = with_larger_chunks(script);
  CATCH_REQUIRE(larger.actors.size() == 4);
  CATCH_CHECK(larger.actors[0].there == std::array{false, true, false});
}

CATCH_TEST_CASE("chunk size: halves are used together", "[evict]") {
  const PassScript script = three_chunks(), smaller = with_smaller_chunks(script);
  CATCH_REQUIRE(smaller.actors.size() == 12);
  CATCH_CHECK(bytes_by_kind(smaller) == bytes_by_kind(script));
  CATCH_CHECK(count(smaller, What::kRead) == 2 * count(script, What::kRead));
  CATCH_CHECK(count(smaller, What::kReady) == 2 * count(script, What::kReady));
  CATCH_CHECK(update_ns(smaller) == update_ns(script));
  CATCH_CHECK(smaller.updates.size() == 6);
  CATCH_CHECK(with_larger_chunks(smaller).actors.size() == script.actors.size());
}

CATCH_TEST_CASE("chunk size: where all fits steps take the same work, and where not they play", "[evict]") {
  std::mt19937_64 random(20261123);
  for (int draw = 0; draw < 200; ++draw) {
    CATCH_CAPTURE(draw);
    const PassScript script = draw_script(random);
    for (const auto& other : {with_larger_chunks(script), with_smaller_chunks(script)}) {
      const auto before = simulate(script, roomy_tiers(), make_next_use_policy());
      const auto after = simulate(other, roomy_tiers(), make_next_use_policy());
      CATCH_CHECK(after.times.pass_work_ns == before.times.pass_work_ns);
      CATCH_CHECK(after.content[static_cast<std::size_t>(ContentKind::kParam)] >=
                  before.content[static_cast<std::size_t>(ContentKind::kParam)]);
      auto tight = roomy_tiers();
      tight.room[0] = 64 * 4096;
      for (auto& edge : tight.rates.edges) edge.bytes_per_second = 1e9;
      tight.look_ahead = 2;
      const auto played = simulate(other, tight, make_next_use_policy());
      CATCH_CHECK(played.times.step_ns == played.times.work_ns() + played.times.stalled_ns());
    }
  }
}

}  // namespace
}  // namespace asterias::evict::tests
