// The command under a DRAM budget: refused with a budget that then works, and with the bits of no budget.
//
// A program of its own, because a sanitizer's memory breaks every byte budget (cmake/CatchTests.cmake).
#include <regex>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

constexpr std::uint64_t kModelDataBytes = 12'752'896ULL * 16;  // of the model below

Run train_small(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"train", "--data", shipped_text(), "--layers", "4", "--hidden",  "512", "--heads",
                                     "8",     "--seq",  "32",           "--batch",  "1", "--threads", "1",   "--steps",
                                     "3"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return start_asterias(arguments);
}

std::uint64_t peak_bytes(const Run& run) {
  std::smatch found;
  return std::regex_search(run.out, found, std::regex(R"(VmHWM [^(]*\((\d+) bytes\))")) ? std::stoull(found[1]) : 0;
}

CATCH_TEST_CASE("a DRAM budget below the model's data holds for the whole process and changes no bit") {
  const TemporaryFolder swap;
  const Run refused = train_small({"--cpu-limit", "1MiB", "--nvme-path", swap.path()});
  CATCH_INFO(refused.err);
  CATCH_CHECK(refused.exit_code == 3);
  const std::string enough = smallest_limit(refused, "cpu");
  const auto limit = parse_bytes(enough);
  CATCH_REQUIRE(limit.has_value());

  const Run plain = train_small({});
  CATCH_REQUIRE(plain.exit_code == 0);
  const Run limited = train_small({"--cpu-limit", enough, "--nvme-path", swap.path()});
  CATCH_INFO(limited.err);
  CATCH_REQUIRE(limited.exit_code == 0);
  CATCH_CHECK(limited.last_line() == plain.last_line());
  CATCH_CHECK(peak_bytes(limited) > 0);
  CATCH_CHECK(peak_bytes(limited) <= *limit);
  CATCH_CHECK(peak_bytes(plain) > *limit);  // or the budget proved nothing
  CATCH_CHECK(peak_bytes(plain) > kModelDataBytes);
  CATCH_CHECK(swap.names().empty());
}

CATCH_TEST_CASE("a DRAM budget without a drive below it is refused") {
  const Run refused = train_small({"--cpu-limit", "150MiB"});
  CATCH_INFO(refused.err);
  CATCH_CHECK(refused.exit_code == 3);
  CATCH_CHECK_FALSE(smallest_limit(refused, "cpu").empty());
}

}  // namespace
}  // namespace asterias::tests
