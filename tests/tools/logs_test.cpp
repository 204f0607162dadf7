// The log folder of a run.
#include <sstream>
#include <string>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

CATCH_TEST_CASE("the log folder holds a line of JSON per step, the configuration and the command") {
  const TemporaryFolder folder;
  const std::string logs = folder.path() + "/a/b";
  const Run run =
      train_tiny({"--steps", "3", "--lr", "0.02", "--accumulate", "2", "--recompute", "--activations", "keep",
                  "--log-dir", logs, "--set", "default_chunk_size=64KiB", "--set", "placement.eviction=lru"});
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);

  std::istringstream steps(read_file(logs + "/steps.jsonl"));
  int num_steps = 0;
  for (std::string line; std::getline(steps, line);) {
    const auto step = nlohmann::json::parse(line);
    CATCH_CHECK(step.at("step") == ++num_steps);
    CATCH_CHECK(step.at("loss").get<double>() > 0);
    CATCH_CHECK(step.at("lr") == 0.02);
    CATCH_CHECK(step.at("grad_norm").is_number());  // clipping is on by default
    CATCH_CHECK(step.at("passes") == 2);
  }
  CATCH_CHECK(num_steps == 3);

  const auto config = nlohmann::json::parse(read_file(logs + "/config.resolved.json"));
  CATCH_CHECK(config.at("gradient_clipping") == 1.0);
  CATCH_CHECK(config.at("train_micro_batch_size_per_gpu") == 2);
  CATCH_CHECK(config.at("gradient_accumulation_steps") == 2);
  CATCH_CHECK(config.at("train_batch_size") == 4);
  CATCH_CHECK(config.at("placement").at("eviction") == "lru");
  CATCH_CHECK(config.at("placement").at("activations") == "keep");

  const auto notes = nlohmann::json::parse(read_file(logs + "/run.json")).at("notes");
  CATCH_CHECK(notes.at("command").get<std::string>().ends_with(
      "--accumulate 2 --recompute --activations keep --log-dir " + logs +
      " --set default_chunk_size=64KiB --set placement.eviction=lru"));
  CATCH_CHECK(notes.at("seed") == "1");
  CATCH_CHECK(notes.at("threads") == 1);
  CATCH_CHECK(notes.at("schedule") == "constant");
  CATCH_CHECK(notes.at("recompute") == "each block");
  CATCH_CHECK(notes.at("layers") == 2);
  CATCH_CHECK(notes.at("heads") == 2);
  CATCH_CHECK(notes.at("sequence") == 32);
  CATCH_CHECK(notes.at("batch") == 2);

  // The configuration is the engine's part of the run; the flags say the rest.
  const Run again = train_tiny({"--steps", "3", "--config", logs + "/config.resolved.json"});
  CATCH_CHECK(again.last_line() == run.last_line());
}

CATCH_TEST_CASE("flags override the configuration file, and --set overrides both") {
  const TemporaryFolder folder;
  const std::string file = folder.add(
      "config.json", R"({"optimizer": {"params": {"lr": 0.5}}, "gradient_clipping": 2, "train_batch_size": 6})");
  const auto lr_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"--steps",      "1", "--config",  file,
                                       "--accumulate", "3", "--log-dir", folder.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Run run = train_tiny(arguments);
    CATCH_INFO(run.err);
    CATCH_REQUIRE(run.exit_code == 0);
    const auto config = nlohmann::json::parse(read_file(folder.path() + "/config.resolved.json"));
    CATCH_CHECK(config.at("gradient_clipping") == 2);
    CATCH_CHECK(config.at("train_batch_size") == 6);
    return config.at("optimizer").at("params").at("lr").get<double>();
  };
  CATCH_CHECK(lr_of({}) == 0.5);
  CATCH_CHECK(lr_of({"--lr", "0.25"}) == 0.25);
  CATCH_CHECK(lr_of({"--lr", "0.25", "--set", "optimizer.params.lr=0.125"}) == 0.125);
}

}  // namespace
}  // namespace asterias::tests
