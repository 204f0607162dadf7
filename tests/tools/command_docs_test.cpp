// docs/command.md against --help, both ways: a stale page is a failing test.
#include <set>
#include <sstream>
#include <string>

#include <catch2/catch.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

// The flag that begins at `at`: "--val-every".
std::string flag_at(const std::string& line, std::size_t at) {
  return line.substr(at, line.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at) - at);
}

std::set<std::string> flags_of_help(const std::string& command) {
  std::set<std::string> flags;
  for (const auto& line : start_asterias({command, "--help"}).lines()) {
    const auto at = line.find("--");
    if (line.starts_with("  -") && at != line.npos) flags.insert(flag_at(line, at));
  }
  return flags;
}

std::set<std::string> flags_of_page() {
  std::set<std::string> flags;
  std::istringstream page(read_file(std::string(std::getenv("ASTERIAS_SOURCE_DIR")) + "/docs/command.md"));
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("| `--")) continue;
    CATCH_CAPTURE(line);
    CATCH_CHECK(flags.insert(flag_at(line, 3)).second);
  }
  return flags;
}

CATCH_TEST_CASE("the page and --help know the same flags") {
  const auto help = flags_of_help("train");
  CATCH_CHECK(help.size() > 30);
  CATCH_CHECK(flags_of_page() == help);
}

// The flags that the page's line about `asterias plan` excepts.
std::set<std::string> flags_no_plan_has() {
  std::set<std::string> flags;
  std::istringstream page(read_file(std::string(std::getenv("ASTERIAS_SOURCE_DIR")) + "/docs/command.md"));
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("`asterias plan` takes")) continue;
    for (auto at = line.find("--"); at != line.npos; at = line.find("--", at + 2)) flags.insert(flag_at(line, at));
  }
  return flags;
}

CATCH_TEST_CASE("plan takes the flags of train but those the page names, which it refuses") {
  auto taken = flags_of_help("plan");
  const auto refused = flags_no_plan_has();
  CATCH_CHECK(refused.size() == 10);
  for (const auto& flag : refused) {
    CATCH_CAPTURE(flag);
    CATCH_CHECK(taken.insert(flag).second);
    const Run run = start_asterias({"plan", "--data", shipped_text(), flag, "1"});
    CATCH_CHECK(run.exit_code == 2);
    CATCH_CHECK(run.says("'" + flag + "' is no flag"));
  }
  CATCH_CHECK(taken.erase("--save-script") == 1);  // its own
  CATCH_CHECK(taken == flags_of_help("train"));
}

CATCH_TEST_CASE("help fits a terminal's width and a screen or two") {
  for (const Run& help : {start_asterias({"--help"}), start_asterias({"train", "--help"})}) {
    CATCH_CHECK(help.exit_code == 0);
    CATCH_CHECK(help.lines().size() < 90);
    for (const auto& line : help.lines()) CATCH_CHECK(line.size() <= 120);
    CATCH_CHECK(help.out.find("130 interrupted") != std::string::npos);
  }
}

}  // namespace
}  // namespace asterias::tests
