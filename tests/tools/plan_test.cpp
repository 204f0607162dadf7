// `asterias plan` and `asterias report`, through the program.
#include <cmath>
#include <sstream>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

Run plan_tiny(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"plan", "--data", shipped_text(), "--layers", "2", "--hidden",  "64", "--heads",
                                     "2",    "--seq",  "32",           "--batch",  "2", "--threads", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return start_asterias(arguments);
}

nlohmann::json json_of(const Run& run) {
  CATCH_INFO(run.err);
  const auto json = nlohmann::json::parse(run.out, nullptr, /*allow_exceptions=*/false);
  CATCH_REQUIRE(json.is_object());
  return json;
}

CATCH_TEST_CASE("a plan tells the placement, the smallest budgets and the time of a step") {
  const TemporaryFolder swap;
  const Run run = plan_tiny({"--device", "simulated", "--gpu-limit", "64MiB", "--nvme-path", swap.path()});
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  for (const char* words : {"placement", "smallest sufficient budgets", "traffic of a step", "time of a step",
                            "forward", "backward", "update", "slowest    the "})
    CATCH_CHECK(run.out.find(words) != std::string::npos);
  CATCH_CHECK(swap.names() == std::vector<std::string>{"asterias-io.json"});  // the drive's rate, for the next plan
}

CATCH_TEST_CASE("a plan tells the bytes per parameter and what state in fewer bytes saves") {
  const Run whole = plan_tiny({}), byte = plan_tiny({"--state-dtype", "8bit"});
  CATCH_CHECK(whole.out.find("bytes per parameter\n") != std::string::npos);
  CATCH_CHECK(whole.out.find("\nsaved ") == std::string::npos);
  CATCH_CHECK(byte.out.find("\nsaved ") != std::string::npos);
  const auto plan = json_of(plan_tiny({"--json", "--state-dtype", "bf16"})).at("plan");
  const auto full = json_of(plan_tiny({"--json"})).at("plan");
  CATCH_CHECK(plan.at("state_saved_bytes").get<std::uint64_t>() ==
              full.at("model_data_bytes").get<std::uint64_t>() - plan.at("model_data_bytes").get<std::uint64_t>());
}

CATCH_TEST_CASE("a plan and a training tell what gradients in their parameters' places save") {
  const std::vector<std::string> separate{"--precision", "bf16"}, reuse{"--precision", "bf16", "--grad-mode", "reuse"};
  const auto with = [](std::vector<std::string> flags, std::vector<std::string> more) {
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  };
  const std::string words = "gradients take their parameters' places, which saves ";
  CATCH_CHECK(plan_tiny(reuse).out.find(words) != std::string::npos);
  CATCH_CHECK(plan_tiny(separate).out.find(words) == std::string::npos);
  CATCH_CHECK(train_tiny(with(reuse, {"--steps", "1"})).out.find(words) != std::string::npos);
  CATCH_CHECK(train_tiny(with(separate, {"--steps", "1"})).out.find(words) == std::string::npos);
  const auto planned = [&](const std::vector<std::string>& flags, const char* what) {
    return json_of(plan_tiny(with(flags, {"--json"}))).at("plan").at(what).get<std::uint64_t>();
  };
  CATCH_CHECK(planned(separate, "reused_bytes") == 0);
  CATCH_CHECK(planned(reuse, "reused_bytes") > 0);
  CATCH_CHECK(planned(reuse, "reused_bytes") ==
              planned(separate, "model_data_bytes") - planned(reuse, "model_data_bytes"));
}

CATCH_TEST_CASE("a plan changes no weight") {
  const auto json = json_of(plan_tiny({"--json"}));
  CATCH_CHECK(json.at("sufficient") == true);
  CATCH_CHECK(json.at("slowest_resource") == "processor");
  CATCH_CHECK(json.at("step_ms_overlapped").get<double>() > 0);
  CATCH_CHECK(json.at("step_ms_in_sequence") >= json.at("step_ms_overlapped"));
  // A step with a rate of zero leaves the weights that a training starts from.
  const Run still = train_tiny({"--steps", "1", "--dropout", "0", "--lr", "0"});
  CATCH_CHECK("fingerprint " + json.at("fingerprint").get<std::string>() == still.last_line());
}

CATCH_TEST_CASE("budgets that do not suffice end a plan with code 3, and with budgets that do") {
  const std::vector<std::string> device{"--device", "simulated", "--json", "--gpu-limit"};
  auto small = device;
  small.push_back("128KiB");
  const Run refused = plan_tiny(small);
  CATCH_CHECK(refused.exit_code == 3);
  CATCH_CHECK_FALSE(smallest_limit(refused, "gpu").empty());
  const auto json = json_of(refused);
  CATCH_CHECK(json.at("sufficient") == false);
  for (const auto& tier : json.at("plan").at("tiers")) {
    if (tier.at("tier") != "gpu") continue;
    auto enough = device;
    enough.push_back(std::to_string(tier.at("smallest_bytes").get<std::uint64_t>()));
    CATCH_CHECK(plan_tiny(enough).exit_code == 0);
  }
}

CATCH_TEST_CASE("a plan tells what recomputing and offloading do to activations, as a training then shows") {
  const std::vector<std::string> job{"--layers", "6", "--device", "simulated", "--gpu-limit", "64MiB"};
  const auto with = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), job.begin(), job.end());
    return flags;
  };
  const auto foretold = [](const nlohmann::json& json) {
    return json.at("plan").at("tiers").at(0).at("predicted_activation_bytes").get<double>();
  };
  const auto neither = foretold(json_of(plan_tiny(with({"--json"}))));
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"--recompute"},
                                                {"--activations", "offload"},
                                                {"--recompute", "--activations=offload"}}) {
    CATCH_CAPTURE(flags);
    auto more = with(flags);
    CATCH_CHECK(plan_tiny(more).out.find("activations, the most at once, ") != std::string::npos);
    more.emplace_back("--json");
    const double planned = foretold(json_of(plan_tiny(more)));
    CATCH_CHECK(planned < neither * 3 / 4);
    // Without fetching ahead, which takes room as time allows.
    more.insert(more.end(), {"--set", "prefetch=0", "--dropout", "0", "--steps", "2"});
    const double on_demand = foretold(json_of(plan_tiny(more)));
    const auto summary = nlohmann::json::parse(train_tiny(more).last_line());
    const double measured = summary.at("tiers").at("gpu").at("peak_activation_bytes");
    CATCH_CHECK(std::abs(measured - on_demand) <= 0.02 * measured);
  }
}

CATCH_TEST_CASE("a budget without room for kept activations ends with code 3, and the one it names trains") {
  const std::vector<std::string> job{"--layers", "6", "--activations", "keep", "--device", "simulated", "--gpu-limit"};
  auto small = job;
  small.push_back("512KiB");
  const Run refused = train_tiny(small);
  CATCH_CHECK(refused.exit_code == 3);
  auto enough = job;
  enough.insert(enough.end(), {smallest_limit(refused, "gpu"), "--steps", "3"});
  const Run run = train_tiny(enough);
  CATCH_INFO(refused.err << run.err);
  CATCH_CHECK(run.exit_code == 0);
  CATCH_CHECK(run.out.find(", 0 B on cpu at most, after warm-up") != std::string::npos);
  CATCH_CHECK(run.last_line() == train_tiny({"--layers", "6", "--steps", "3"}).last_line());
}

CATCH_TEST_CASE("stalls by phase and stalls by cause are the same time") {
  const TemporaryFolder folder;
  const Run run = train_tiny({"--steps", "2", "--device", "simulated", "--gpu-limit", "2MiB", "--log-dir",
                              folder.path(), "--set", "default_chunk_size=64KiB", "--set", "tiers.gpu.link.h2d=64MiB",
                              "--set", "tiers.gpu.link.d2h=64MiB"});
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  std::istringstream steps(read_file(folder.path() + "/steps.jsonl"));
  for (std::string line; std::getline(steps, line);) {
    const auto step = nlohmann::json::parse(line);
    double by_phase = 0, by_cause = 0;
    for (const char* phase : {"forward", "backward", "update"}) {
      const double stalled = step.at("stall_" + std::string(phase) + "_ms");
      CATCH_CHECK(stalled >= -1e-6);
      CATCH_CHECK(stalled <= step.at(std::string(phase) + "_ms").get<double>() + 1e-6);
      by_phase += stalled;
    }
    for (const char* cause : {"nvme_read", "h2d", "nvme_write", "d2h"})
      by_cause += step.at("stall_" + std::string(cause) + "_ms").get<double>();
    CATCH_CHECK(by_phase > 0);
    CATCH_CHECK(std::abs(by_phase - by_cause) < 1e-6);
  }
}

CATCH_TEST_CASE("a run's log folder becomes a page") {
  const TemporaryFolder folder;
  const std::string logs = folder.path() + "/logs";
  const Run run = train_tiny({"--steps", "4", "--log-dir", logs});
  CATCH_REQUIRE(run.exit_code == 0);
  const Run report = start_asterias({"report", logs});
  CATCH_INFO(report.err);
  CATCH_REQUIRE(report.exit_code == 0);
  CATCH_CHECK(report.out.starts_with(logs + "/report.html, "));
  const std::string page = read_file(logs + "/report.html");
  CATCH_CHECK(page.find(run.last_line().substr(12)) != std::string::npos);
  CATCH_CHECK(page.find("Loss over steps") != std::string::npos);
  CATCH_CHECK(start_asterias({"report", logs, "--out", "-"}).out == page);
}

CATCH_TEST_CASE("a report of no run is refused with code 2, one that cannot be written with 4") {
  const TemporaryFolder folder;
  const Run empty = start_asterias({"report", folder.path()});
  CATCH_CHECK(empty.exit_code == 2);
  CATCH_CHECK(empty.says("holds no log of a run"));
  CATCH_CHECK(start_asterias({"report", folder.path() + "/nowhere"}).exit_code == 2);
  CATCH_CHECK(start_asterias({"report"}).exit_code == 2);
  folder.add("steps.jsonl", "{\"step\":1,\"loss\":2}\n");
  CATCH_CHECK(start_asterias({"report", folder.path(), "--out", folder.path() + "/no/where.html"}).exit_code == 4);
}

}  // namespace
}  // namespace asterias::tests
