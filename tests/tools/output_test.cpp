// What a run tells programs and files, and what it does when nobody takes it.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

using Json = nlohmann::json;

CATCH_TEST_CASE("with --json every line is an event: the plan, the steps, and the summary last") {
  const Run run = train_tiny({"--steps", "3", "--json", "--val-every", "2", "--sample-every", "3", "--sample-tokens",
                              "4", "--device", "simulated", "--gpu-limit", "64MiB"});
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  CATCH_CHECK(run.err.empty());
  std::vector<std::string> events;
  for (const auto& line : run.lines()) events.push_back(Json::parse(line).at("event"));
  CATCH_CHECK(events == std::vector<std::string>{"plan", "step", "step", "validation", "step", "validation", "sample",
                                                 "summary"});
  const auto lines = run.lines();
  const Json plan = Json::parse(lines[0]);
  CATCH_CHECK(plan.at("measured") == true);
  CATCH_CHECK(plan.at("num_parameters") == 256 * 64 + 32 * 64 + 2 * (12 * 64 * 64 + 13 * 64) + 2 * 64);
  const Json step = Json::parse(lines[1]);
  CATCH_CHECK(step.at("step") == 1);
  CATCH_CHECK(step.at("tokens_per_second") > 0);
  const Json summary = Json::parse(lines.back());
  CATCH_CHECK(summary.at("how") == "done");
  CATCH_CHECK(summary.at("steps") == 3);
  CATCH_CHECK(summary.at("tiers").at("gpu").at("limit_bytes") == 64 << 20);
  CATCH_CHECK(summary.at("tiers").at("gpu").at("peak_bytes") <= 64 << 20);
  CATCH_CHECK(summary.at("tiers").at("gpu").at("predicted_peak_bytes") > 0);
  CATCH_CHECK(summary.at("last_validation").at("step") == 3);
  CATCH_CHECK(summary.at("fingerprint").get<std::string>().size() == 16);
}

CATCH_TEST_CASE("the plan is told before any update, and a step's row after it") {
  const Run run = train_tiny({"--steps", "2", "--accumulate", "2"});
  CATCH_REQUIRE(run.exit_code == 0);
  const auto plan = run.out.find("placement"), row = run.out.find("\n     1 ");
  CATCH_REQUIRE(plan != std::string::npos);
  CATCH_CHECK(plan < row);
  CATCH_CHECK(run.out.find("placement", plan + 1) == std::string::npos);
  for (const char* words : {"cpu       [", "L libraries", "predicted", "stalled", "loss       "})
    CATCH_CHECK(run.out.find(words) != std::string::npos);
  for (const char byte : run.out) CATCH_REQUIRE(static_cast<unsigned char>(byte) < 0x80);
}

CATCH_TEST_CASE("a loss that is no number ends the run, naming the step and what to try") {
  const TemporaryFolder logs;
  const Run run = train_tiny({"--steps", "50", "--lr", "1e8", "--clip", "0", "--log-dir", logs.path()});
  CATCH_CHECK(run.exit_code == 1);
  CATCH_CHECK(run.err.starts_with("asterias: the loss of step "));
  for (const char* words : {"no weight", "--lr (now 1e+08)", "--warmup", "--clip 1"}) CATCH_CHECK(run.says(words));
  CATCH_CHECK(run.out.find("fingerprint") == std::string::npos);
  const std::string how = Json::parse(read_file(logs.path() + "/run.json")).at("end").at("how");
  CATCH_CHECK(how.starts_with("failed: the loss of step"));
}

CATCH_TEST_CASE("a standard output that cannot be written is an I/O error and leaves no swap file") {
  const TemporaryFolder swap;
  for (const auto& arguments : {tiny_training({"--steps", "2", "--nvme-path", swap.path()}),
                                tiny_training({"--quiet"}),
                                tiny_training({"--json"}),
                                {"--help"},
                                {"train", "--help"},
                                {"--version"}}) {
    const Run run = start_asterias(arguments, "/dev/full");
    CATCH_CAPTURE(arguments);
    CATCH_CHECK(run.exit_code == 4);
    CATCH_CHECK(run.says("standard output"));
    CATCH_CHECK(run.says("No space left on device"));
  }
  CATCH_CHECK(swap.names().empty());
}

CATCH_TEST_CASE("a reader that goes away ends the run in order") {
  const TemporaryFolder swap, files;
  std::string command = std::getenv("ASTERIAS_BIN_DIR");
  command += "/asterias";
  for (const auto& argument : tiny_training({"--steps", "100000000", "--nvme-path", swap.path()}))
    command.append(" ").append(argument);
  command.append(" 2> ").append(files.path()).append("/err");
  FILE* reader = ::popen(command.c_str(), "r");
  CATCH_REQUIRE(reader != nullptr);
  const int status = ::pclose(reader);  // closes the pipe, then waits
  CATCH_CHECK(WEXITSTATUS(status) == 4);
  CATCH_CHECK(read_file(files.path() + "/err").find("Broken pipe") != std::string::npos);
  CATCH_CHECK(swap.names().empty());
}

}  // namespace
}  // namespace asterias::tests
