// `asterias train` as a whole: what it prints, and that no budget changes what it computes.
#include <algorithm>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

CATCH_TEST_CASE("a run prints its header, a line per step and a summary, and the fingerprint last") {
  const Run run = train_tiny({"--steps", "3", "--lr", "0.01"});
  CATCH_REQUIRE(run.exit_code == 0);
  CATCH_CHECK(run.err.empty());
  CATCH_CHECK(is_fingerprint(run.last_line()));
  for (const char* words : {"parameters", "model data", "budgets", "tokens/s", "VmHWM"})
    CATCH_CHECK(run.out.find(words) != std::string::npos);
  for (const char* edge : {"NVMe read", "H2D"}) CATCH_CHECK(run.out.find(edge) == std::string::npos);  // no such tiers
  const auto lines = run.lines();
  for (const char* step : {"     1 ", "     2 ", "     3 "})
    CATCH_CHECK(std::count_if(lines.begin(), lines.end(), [&](const auto& line) { return line.starts_with(step); }) ==
                1);
}

CATCH_TEST_CASE("the same run twice has the same fingerprint and another seed or rate or batch has another") {
  const std::string line = train_tiny({"--steps", "2", "--seed", "7", "--lr", "0.01"}).last_line();
  CATCH_REQUIRE(is_fingerprint(line));
  CATCH_CHECK(train_tiny({"--steps", "2", "--seed", "7", "--lr", "0.01"}).last_line() == line);
  CATCH_CHECK(train_tiny({"--steps", "2", "--seed", "8", "--lr", "0.01"}).last_line() != line);
  CATCH_CHECK(train_tiny({"--steps", "2", "--seed", "7", "--lr", "0.02"}).last_line() != line);
  CATCH_CHECK(train_tiny({"--steps", "2", "--seed", "7", "--lr", "0.01", "--accumulate", "2"}).last_line() != line);
}

CATCH_TEST_CASE(
    "a simulated accelerator too small for the model is refused by name, and the budget named gives the same bits") {
  const std::vector<std::string> job{"--steps", "3", "--accumulate", "2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), job.begin(), job.end());
    return train_tiny(more);
  };
  const Run refused = with({"--device", "simulated", "--gpu-limit", "1KiB"});
  CATCH_CHECK(refused.exit_code == 3);
  CATCH_CHECK(refused.last_line().find("fingerprint") == std::string::npos);
  const std::string enough = smallest_limit(refused, "gpu");
  CATCH_REQUIRE_FALSE(enough.empty());

  const Run plain = with({});
  CATCH_REQUIRE(plain.exit_code == 0);
  const TemporaryFolder swap;
  for (const auto& below : {std::vector<std::string>{}, std::vector<std::string>{"--nvme-path", swap.path()}}) {
    std::vector<std::string> budget{"--device", "simulated", "--gpu-limit", enough};
    budget.insert(budget.end(), below.begin(), below.end());
    const Run limited = with(budget);
    CATCH_INFO(limited.err);
    CATCH_REQUIRE(limited.exit_code == 0);
    CATCH_CHECK(limited.last_line() == plain.last_line());
  }
  CATCH_CHECK(swap.names().empty());
}

CATCH_TEST_CASE("help and version") {
  const Run help = start_asterias({"--help"});
  CATCH_CHECK(help.exit_code == 0);
  CATCH_CHECK(help.out.find("train") != std::string::npos);
  const Run version = start_asterias({"--version"});
  CATCH_CHECK(version.exit_code == 0);
  for (const char* words : {"asterias ", "libtorch 2.", "SIMD", "devices"})
    CATCH_CHECK(version.out.find(words) != std::string::npos);
}

}  // namespace
}  // namespace asterias::tests
