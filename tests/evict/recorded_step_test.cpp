#include "evict/recorded_step.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "tests/evict/script_builder.hpp"

namespace asterias::evict::tests {
namespace {

RecordedStep draw_step(std::mt19937_64& random) {
  RecordedStep step{draw_script(random), draw_tiers(random), "next_use"};
  step.tiers.levels = {Tier::kGpu, Tier::kCpu, Tier::kNvme};
  step.script.before_update = {0, random() % 1000, 1};
  for (auto& edge : step.tiers.rates.edges) edge = {1e6 * static_cast<double>(1 + random() % 5000), random() % 100};
  step.tiers.rates.drive_is_shared = random() % 2 == 0;
  step.tiers.update_params_per_second = 1e9;
  step.tiers.library_bytes = random() % 5000;
  return step;
}

CATCH_TEST_CASE("recorded step: what is written plays the same when it is read", "[evict]") {
  std::mt19937_64 random(51);
  for (int round = 0; round < 40; ++round) {
    const RecordedStep step = draw_step(random);
    const std::string text = to_json(step);
    const RecordedStep again = recorded_step_from_json(text, "again");
    CATCH_REQUIRE(to_json(again) == text);
    const Simulation before = step.play(), after = again.play();
    CATCH_REQUIRE(after.times.step_ns == before.times.step_ns);
    CATCH_REQUIRE(after.times.stall_ns == before.times.stall_ns);
    CATCH_REQUIRE(after.moved_bytes == before.moved_bytes);
    CATCH_REQUIRE(after.peak_content == before.peak_content);
  }
}

CATCH_TEST_CASE("recorded step: a file that cannot be written is an error", "[evict]") {
  std::mt19937_64 random(54);
  CATCH_CHECK_THROWS_AS(save(draw_step(random), "/nowhere/step.json"), IoError);
}

std::string complaint_about(const std::string& text) {
  try {
    recorded_step_from_json(text, "step.json");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

// Replaces the first of its kind.
std::string changed(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  CATCH_REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

CATCH_TEST_CASE("recorded step: what is wrong with a file is said with its place", "[evict]") {
  std::mt19937_64 random(52);
  const std::string good = to_json(draw_step(random));
  CATCH_REQUIRE(complaint_about(good).empty());
  const auto complains = [&](const std::string& from, const std::string& to, const std::string& words) {
    const std::string complaint = complaint_about(changed(good, from, to));
    CATCH_INFO(complaint);
    CATCH_CHECK(complaint.find(words) != std::string::npos);
  };
  CATCH_CHECK(complaint_about("{").find("step.json is not JSON") != std::string::npos);
  CATCH_CHECK(complaint_about("[]").find("step.json is no recorded step") != std::string::npos);
  complains("\"version\":2", "\"version\":1", "step.json has version 1; this program reads version 2");
  complains("\"next_use\"", "\"mru\"", "step.json.policy is 'mru', which is no eviction policy");
  complains("\"tier\":\"gpu\"", "\"tier\":\"hbm\"", "step.json.tiers[0].tier is 'hbm', which is no tier");
  complains("\"tier\":\"cpu\"", "\"tier\":\"gpu\"", "does not name the tiers fastest first");
  complains("\"look_ahead\"", "\"ahead\"", "step.json has no \"look_ahead\"");
  complains("\"puts_off_updates\":", "\"puts_off_updates\":1,\"was\":",
            "step.json.puts_off_updates is neither true nor false");
  complains("\"offloads\":", "\"offloads\":1,\"was\":", "step.json.offloads is neither true nor false");
  complains("\"kind\":\"param\"", "\"kind\":\"weight\"", "step.json.actors[0].kind is 'weight'");
  complains("[\"operator\",", "[\"operator\",-1,", "step.json.events[1][1] is not a whole number from 0 on");
  complains("[\"operator\",", "[\"kernel\",", "step.json.events[1][0] is 'kernel', which is no event");
  complains("[\"read\",\"gpu\",0]", "[\"read\",\"gpu\",99]", "step.json.events[2][2] is 99, more than");
  complains("[\"read\",\"gpu\",0]", "[\"read\",\"gpu\"]", "step.json.events[2] has 2 entries, too few");
  complains("[\"read\",\"gpu\",0]", "[\"read\",\"nvme\",0]", "step.json.events[2] happens on the drive");
}

CATCH_TEST_CASE("recorded step: the file ends anywhere and is refused", "[evict]") {
  std::mt19937_64 random(53);
  const std::string good = to_json(draw_step(random));
  for (std::size_t size = 0; size + 2 < good.size(); size += 7)
    CATCH_REQUIRE(!complaint_about(good.substr(0, size)).empty());
}

// Passes of two operators each, which take so long, and whose hashes are the pass' digit and the operator's.
PassScript passes(const std::vector<std::uint64_t>& digits, std::uint64_t ns) {
  PassScript script;
  for (const auto digit : digits) {
    script.pass_starts.push_back(script.operators.size());
    for (std::uint64_t at = 0; at < 2; ++at) script.operators.push_back({10 * digit + at, ns++, 1});
  }
  return script;
}

CATCH_TEST_CASE("recorded step: times are taken from the passes that come again", "[evict]") {
  RecordedStep step;
  step.script = passes({1, 2, 3}, 100);
  step.take_times(passes({1, 2, 3, 1, 9}, 500));  // the last is another pass than the second
  std::vector<std::uint64_t> ns;
  for (const auto& each : step.script.operators) ns.push_back(each.ns);
  CATCH_CHECK(ns == std::vector<std::uint64_t>{506, 507, 102, 103, 104, 105});
}

}  // namespace
}  // namespace asterias::evict::tests
