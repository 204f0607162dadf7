// `asterias bench`: what it recommends, what it prints, what it leaves behind, and that a plan takes that.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "tests/tools/started_program.hpp"
#include "tools/bench_adam.hpp"
#include "tools/bench_io.hpp"
#include "tools/bench_rounds.hpp"

namespace asterias::tests {
namespace {

using tools::AdamResult;
using tools::IoResult;

IoResult result(std::uint64_t block_bytes, int depth, std::vector<double> update) {
  IoResult one;
  one.io.block_bytes = block_bytes;
  one.io.queue_depth = depth;
  one.update = std::move(update);
  return one;
}

CATCH_TEST_CASE("of settings that are as good as the best, the least in flight is recommended", "[unit]") {
  const std::vector<IoResult> results{result(kMiB, 4, {1.0, 1.0, 9.0}), result(4 * kMiB, 8, {2.0, 2.0, 2.0}),
                                      result(kMiB, 8, {1.95, 1.95, 1.0}), result(kMiB, 16, {1.97, 1.9, 2.5})};
  CATCH_CHECK(tools::recommended(results).io.block_bytes == kMiB);
  CATCH_CHECK(tools::recommended(results).io.queue_depth == 8);
}

AdamResult adam_result(StateDtype state, int threads, std::vector<double> params) {
  AdamResult one;
  one.state = state;
  one.threads = threads;
  one.params_per_second = std::move(params);
  return one;
}

CATCH_TEST_CASE("of numbers of threads that are as good as the best, the fewest are recommended", "[unit]") {
  const std::vector<AdamResult> results{adam_result(StateDtype::kFp32, 1, {1.0, 1.0, 9.0}),
                                        adam_result(StateDtype::kFp32, 2, {1.90, 1.92, 3.0}),
                                        adam_result(StateDtype::kFp32, 4, {2.0, 2.0, 2.0}),
                                        adam_result(StateDtype::k8Bit, 1, {5.0, 5.0, 5.0})};  // another format
  CATCH_CHECK(tools::recommended_threads(results) == 4);
  CATCH_CHECK(tools::recommended_threads({results.begin(), results.begin() + 2}) == 2);
  auto close = results;
  close[1].params_per_second = {1.96, 1.98, 1.97};
  CATCH_CHECK(tools::recommended_threads(close) == 2);
}

CATCH_TEST_CASE("ratios are of the same round", "[unit]") {
  CATCH_CHECK(tools::median_ratio({1, 4, 9}, {1, 2, 3}) == 2);
}

Run bench_io(const TemporaryFolder& folder, std::vector<std::string> more) {
  std::vector<std::string> arguments{"bench", "io",       "--nvme-path", folder.path(), "--size",
                                     "16MiB", "--rounds", "2",           "--seconds",   "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return start_asterias(arguments);
}

CATCH_TEST_CASE("bench io measures each setting and keeps the rates for a plan") {
  const TemporaryFolder folder;
  const Run run =
      bench_io(folder, {"--block-sizes", "256KiB,4MiB", "--queue-depths", "8", "--engines", "auto,threads", "--json"});
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  const auto json = nlohmann::json::parse(run.out);
  CATCH_CHECK(json["results"].size() == 4);
  for (const auto& one : json["results"]) CATCH_CHECK(one["update_bytes_per_second"]["median"] > 0);
  CATCH_CHECK(folder.names() == std::vector<std::string>{"asterias-io.json"});

  const std::string kept = read_file(folder.path() + "/asterias-io.json");
  std::vector<std::string> plan = tiny_training({"--nvme-path", folder.path(), "--json"});
  plan.front() = "plan";
  const Run planned = start_asterias(plan);
  CATCH_INFO(planned.err);
  CATCH_CHECK(planned.exit_code == 0);
  CATCH_CHECK(nlohmann::json::parse(planned.out)["rates"]["nvme_bytes_per_second"] ==
              nlohmann::json::parse(kept)["rates"][1]["update_bytes_per_second"]);  // of 4 MiB and auto, the defaults
  CATCH_CHECK(read_file(folder.path() + "/asterias-io.json") == kept);
}

CATCH_TEST_CASE("bench io prints a table and what to set") {
  const TemporaryFolder folder;
  const Run run = bench_io(folder, {"--block-sizes", "1MiB", "--queue-depths", "4"});
  CATCH_CHECK(run.exit_code == 0);
  CATCH_CHECK(run.out.find("auto           1 MiB      4") != std::string::npos);
  CATCH_CHECK(run.out.find("--set io.block_size=1048576 --set io.queue_depth=4") != std::string::npos);
}

CATCH_TEST_CASE("bench io refuses what no run could have") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<std::string>& more, const std::string& words) {
    const Run run = bench_io(folder, more);
    CATCH_INFO(run.err);
    CATCH_CHECK(run.exit_code == 2);
    CATCH_CHECK(run.says(words));
  };
  refused({"--block-sizes", "1000"}, "io.block_size");
  refused({"--queue-depths", "0"}, "io.queue_depth");
  refused({"--engines", "aio"}, "io.engine");
  refused({"--nvme-path", "/nowhere"}, "/nowhere");
  refused({"--size", "1MiB"}, "8 MiB");
  refused({"--engine", "auto"}, "did you mean --engines?");
  CATCH_CHECK(start_asterias({"bench"}).exit_code == 2);
  CATCH_CHECK(folder.names().empty());
}

nlohmann::json json_of(const Run& run) {
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  return nlohmann::json::parse(run.out);
}

CATCH_TEST_CASE("bench adam measures each format of state on each number of threads") {
  const std::vector<std::string> small{"bench", "adam",           "--size",    "2MiB",     "--threads",
                                       "1,2",   "--state-dtypes", "fp32,8bit", "--rounds", "2"};
  auto as_json = small;
  as_json.emplace_back("--json");
  const auto json = json_of(start_asterias(as_json));
  CATCH_CHECK(json["parameters"] == 2 * kMiB / 16);
  CATCH_REQUIRE(json["results"].size() == 4);
  for (const auto& one : json["results"]) CATCH_CHECK(one["params_per_second"]["median"] > 0);
  CATCH_CHECK(json["results"][0]["bytes_per_param"] == 28);
  CATCH_CHECK(json["results"][3]["bytes_per_param"] == 16.0625);
  CATCH_CHECK(start_asterias(small).out.find("recommended: --set cpu.threads=") != std::string::npos);
}

CATCH_TEST_CASE("bench copy measures copies of each size, one way and both ways") {
  const std::vector<std::string> small{"bench", "copy", "--size", "2MiB", "--copy-sizes", "5000,1MiB", "--rounds", "2"};
  auto as_json = small;
  as_json.emplace_back("--json");
  const auto json = json_of(start_asterias(as_json));
  CATCH_REQUIRE(json["results"].size() == 2);
  for (const auto& one : json["results"])
    for (const char* ways : {"one_way_bytes_per_second", "both_ways_bytes_per_second"})
      CATCH_CHECK(one[ways]["best"] >= one[ways]["median"]);
  CATCH_CHECK(json["declarable_link_bytes_per_second"] > 0);
  CATCH_CHECK(start_asterias(small).out.find("--set tiers.gpu.link.h2d=") != std::string::npos);
}

CATCH_TEST_CASE("bench step times the steps of a training in its budgets") {
  const TemporaryFolder folder;
  std::vector<std::string> arguments = tiny_training(
      {"--accumulate", "2", "--rounds", "3", "--nvme-path", folder.path(), "--set", "debug.evict_always=true"});
  arguments.front() = "step";
  arguments.insert(arguments.begin(), "bench");
  CATCH_CHECK(start_asterias(arguments).out.find("of 3 steps") != std::string::npos);
  arguments.emplace_back("--json");
  const auto json = json_of(start_asterias(arguments));
  CATCH_CHECK(json["rounds"] == 3);
  CATCH_CHECK(json["step_ms"]["median"] >= json["forward_ms"]["best"]);
  CATCH_CHECK(json["nvme_read_bytes"] > 0);
  CATCH_CHECK(json["nvme_write_bytes"] > 0);
  CATCH_CHECK(folder.names().empty());
}

CATCH_TEST_CASE("bench says what no setting is") {
  const auto refused = [](const std::vector<std::string>& arguments, const std::string& words) {
    const Run run = start_asterias(arguments);
    CATCH_INFO(run.err);
    CATCH_CHECK(run.exit_code == 2);
    CATCH_CHECK(run.says(words));
  };
  refused({"bench", "adam", "--threads", "1,x"}, "cpu.threads");
  refused({"bench", "adam", "--state-dtypes", "int4"}, "optimizer.params.state_dtype");
  refused({"bench", "adam", "--size", "1KiB"}, "1 MiB or more");
  refused({"bench", "copy", "--copy-sizes", "1MiB,3"}, "--copy-sizes 3");
  refused({"bench", "step"}, "--data");
}

}  // namespace
}  // namespace asterias::tests
