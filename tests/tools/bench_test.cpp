// `asterias bench io`: what it recommends, what it leaves behind, and that a plan takes that.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "tests/tools/started_program.hpp"
#include "tools/bench_command.hpp"

namespace asterias::tests {
namespace {

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

CATCH_TEST_CASE("the median of an even number is the mean of the middle two", "[unit]") {
  CATCH_CHECK(tools::median({4, 1, 3, 100}) == 3.5);
  CATCH_CHECK(tools::median({7, 1, 3}) == 3);
  CATCH_CHECK(tools::median({7}) == 7);
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

}  // namespace
}  // namespace asterias::tests
