// `asterias train` on a terminal: the live line.
#include <algorithm>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/tools/running_program.hpp"
#include "tests/tools/started_program.hpp"
#include "tools/terminal.hpp"

namespace asterias::tests {
namespace {

constexpr unsigned short kColumns = 60;
const std::string kRedraw = "\r\x1b[K";

RunningProgram::Environment utf8_terminal() { return {{"TERM", "xterm"}, {"LC_ALL", "C.UTF-8"}, {"NO_COLOR", ""}}; }

// What was shown in place, one after the other.
std::vector<std::string> redraws(const std::string& out) {
  std::vector<std::string> shown;
  for (std::size_t at = out.find(kRedraw); at != out.npos;) {
    const auto next = out.find(kRedraw, at + 1);
    const auto end = std::min(next, out.find("\r\n", at));
    shown.push_back(out.substr(at + kRedraw.size(), end - at - kRedraw.size()));
    at = next;
  }
  return shown;
}

CATCH_TEST_CASE("a terminal shows one line that is redrawn and fits it, instead of a row per step") {
  RunningProgram program(tiny_training({"--steps", "3", "--val-every", "2"}), kColumns, utf8_terminal());
  CATCH_CHECK(program.finish() == 0);
  const std::string& out = program.out();
  CATCH_INFO(out);
  int num_steps_shown = 0;
  for (const auto& line : redraws(out)) {
    CATCH_CHECK(tools::columns_of(line) < kColumns);
    num_steps_shown += line.find("step 3/3") != line.npos;
  }
  CATCH_CHECK(num_steps_shown >= 4);                        // forward, backward, update, done
  CATCH_CHECK(out.find("tokens/s   forward") == out.npos);  // the heads of the rows
  CATCH_CHECK(out.find("validation\r\n") != out.npos);
  CATCH_CHECK(out.find("\x1b[1m") != out.npos);
  CATCH_CHECK(out.find("█") != out.npos);
  CATCH_CHECK(out.ends_with("\r\n"));
  CATCH_CHECK(is_fingerprint(out.substr(out.rfind("fingerprint"), 28)));
}

CATCH_TEST_CASE("NO_COLOR leaves the line and takes the colours, another character set takes the blocks") {
  auto environment = utf8_terminal();
  environment.insert_or_assign("NO_COLOR", std::string("1"));
  environment.insert_or_assign("LC_ALL", std::string("C"));
  RunningProgram program(tiny_training({"--steps", "2"}), kColumns, environment);
  CATCH_CHECK(program.finish() == 0);
  CATCH_CHECK(program.count(kRedraw) > 2);
  CATCH_CHECK(program.count("\x1b[") == program.count(kRedraw));
  for (const char byte : program.out()) CATCH_REQUIRE(static_cast<unsigned char>(byte) < 0x80);
}

CATCH_TEST_CASE("a terminal that cannot redraw gets rows") {
  auto environment = utf8_terminal();
  environment["TERM"] = "dumb";
  RunningProgram program(tiny_training({"--steps", "2"}), kColumns, environment);
  CATCH_CHECK(program.finish() == 0);
  CATCH_CHECK(program.count("\x1b") == 0);
  CATCH_CHECK(program.count("\r\n     2 ") == 1);
}

CATCH_TEST_CASE("an error stands below the live line, not in it") {
  RunningProgram program(tiny_training({"--steps", "50", "--lr", "1e8", "--clip", "0"}), kColumns, utf8_terminal());
  CATCH_CHECK(program.finish() == 1);
  CATCH_INFO(program.out());
  CATCH_CHECK(program.count("\r\nasterias: the loss of step") == 1);
}

}  // namespace
}  // namespace asterias::tests
