// Ctrl-C and SIGTERM, once and twice.
#include <csignal>
#include <filesystem>
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/tools/running_program.hpp"
#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

const RunningProgram::Environment kPlain{{"TERM", "dumb"}, {"LC_ALL", "C"}};
constexpr unsigned short kColumns = 200;

CATCH_TEST_CASE("an interrupt ends the run after its step with summary and fingerprint, by either signal") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const TemporaryFolder folder;
    const std::string logs = folder.path() + "/logs", swap = folder.path() + "/swap";
    std::filesystem::create_directories(swap);
    RunningProgram program(tiny_training({"--steps", "100000000", "--log-dir", logs, "--nvme-path", swap}), kColumns,
                           kPlain);
    CATCH_REQUIRE(program.wait_for("\r\n     2 "));
    program.send(signal);
    CATCH_CHECK(program.finish() == 130);
    const std::string& out = program.out();
    CATCH_CHECK(out.find("asterias: interrupted; ends after this step") != out.npos);
    CATCH_CHECK(out.find("of 100000000 steps") != out.npos);
    CATCH_CHECK(out.find("VmHWM") != out.npos);
    const auto last = out.rfind("fingerprint ");
    CATCH_REQUIRE(last != out.npos);
    CATCH_CHECK(is_fingerprint(out.substr(last, 28)));
    CATCH_CHECK(nlohmann::json::parse(read_file(logs + "/run.json")).at("end").at("how") == "interrupted");
    CATCH_CHECK(std::filesystem::is_empty(swap));
  }
}

CATCH_TEST_CASE("a second interrupt ends the run at once, and the next run deletes what it left") {
  const TemporaryFolder swap;
  // A step of so many passes does not end by itself.
  RunningProgram program(tiny_training({"--steps", "2", "--accumulate", "100000000", "--nvme-path", swap.path()}),
                         kColumns, kPlain);
  CATCH_REQUIRE(program.wait_for("placement"));
  program.send(SIGINT);
  CATCH_REQUIRE(program.wait_for("or at once if interrupted again"));
  program.send(SIGINT);
  CATCH_CHECK(program.finish() == 130);
  CATCH_CHECK(program.count("fingerprint") == 0);

  CATCH_CHECK(train_tiny({"--steps", "1", "--nvme-path", swap.path()}).exit_code == 0);
  CATCH_CHECK(swap.names().empty());
}

}  // namespace
}  // namespace asterias::tests
