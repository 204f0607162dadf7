// The log folder's files, and docs/logs.md against them, both ways.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <asterias/run_log.h>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "tests/base/temporary_folder.hpp"

namespace asterias {
namespace {

using Json = nlohmann::json;
using tests::TemporaryFolder;

std::string read(const std::string& path) {
  std::ifstream file(path);
  CATCH_REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

StepStats stats_of(std::int64_t step) {
  StepStats stats;
  stats.step = step;
  stats.grad_norm = std::nan("");
  for (auto& tier : stats.tiers) {
    tier.present = true;
    tier.limit_bytes = 100;
    tier.bytes_by_kind[0] = 7;
  }
  return stats;
}

// One step in which two transfers and two stalls follow and overlap each other.
StepTrace small_trace() {
  StepTrace trace;
  trace.limit_bytes = {100, UINT64_MAX, 0};
  trace.residents = {{ContentKind::kExpAvg, 12, "", 4096}, {ContentKind::kActivation, 345, "aten::gelu", 8192}};
  auto& step = trace.steps.emplace_back();
  step.step = 3;
  step.span = {1'000'000, 2'000'000};
  step.num_moments = 2;
  step.operators = {{{1'100'000, 1'200'000}, "aten::gelu"}};
  step.moves = {{{1'100'000, 1'300'000}, evict::Edge::kNvmeRead, 0},
                {{1'200'000, 1'250'000}, evict::Edge::kNvmeRead, 1},
                {{1'300'000, 1'400'000}, evict::Edge::kNvmeRead, 1}};
  step.stalls = {{{1'150'000, 1'200'000}, evict::Edge::kNvmeRead}};
  step.samples = {{0, 1'150'000, Tier::kGpu, {}}, {1, 1'900'000, Tier::kGpu, {1}}};
  step.residences = {{1, Tier::kGpu, 0, 2}};
  return trace;
}

// The words in code type in the first cells of the tables of a section.
std::set<std::string> fields_on_page(const std::string& section) {
  std::set<std::string> fields;
  bool is_inside = false;
  for (const auto& line : lines_of(read(std::string(std::getenv("ASTERIAS_SOURCE_DIR")) + "/docs/logs.md"))) {
    if (line.starts_with("## ")) is_inside = line == "## " + section;
    if (!is_inside || !line.starts_with("| `")) continue;
    const std::string cell = line.substr(0, line.find(" | "));
    for (std::size_t at = cell.find('`'); at != cell.npos; at = cell.find('`', at + 1)) {
      const std::size_t end = cell.find('`', at + 1);
      CATCH_CHECK(fields.insert(cell.substr(at + 1, end - at - 1)).second);
      at = end;
    }
  }
  return fields;
}

std::set<std::string> keys_of(const Json& json) {
  std::set<std::string> keys;
  for (const auto& [key, _] : json.items()) keys.insert(key);
  return keys;
}

std::string without_tier(const std::string& key) {
  for (const std::string tier : {"gpu_", "cpu_"})
    if (key.starts_with(tier)) return std::string("<tier>_").append(key, 4);
  return key;
}

}  // namespace

CATCH_TEST_CASE("docs/logs.md names every field of a step, and no other") {
  StepStats stats = stats_of(1);
  stats.tiers[2].present = false;  // nvme_read_bytes is no field of a tier
  std::set<std::string> fields;
  for (const auto& key : keys_of(Json::parse(stats.to_json()))) fields.insert(without_tier(key));
  CATCH_CHECK(fields == fields_on_page("steps.jsonl"));
}

CATCH_TEST_CASE("docs/logs.md names every field of a run and its plan, and no other") {
  const TemporaryFolder folder;
  RunLog log(folder.path(), {});
  Plan plan;
  plan.tiers.push_back({Tier::kCpu, 1, 2, "an operator", 3});
  log.plan(plan);
  const auto run = Json::parse(read(folder.path() + "/run.json"));
  auto fields = keys_of(run);
  fields.merge(keys_of(run.at("plan")));
  fields.merge(keys_of(run.at("plan").at("tiers").at(0)));
  CATCH_CHECK(fields == fields_on_page("run.json"));
}

CATCH_TEST_CASE("docs/logs.md names every field of the trace's other data, and no other") {
  const TemporaryFolder folder;
  RunLog log(folder.path(), {});
  log.add(small_trace());
  CATCH_CHECK(keys_of(Json::parse(read(folder.path() + "/trace.json")).at("otherData")) ==
              fields_on_page("trace.json"));
}

CATCH_TEST_CASE("an empty folder name makes a log that does nothing") {
  RunLog log("", {});
  log.note("a", 1.0);
  log.plan({});
  log.add(stats_of(1));
  log.add(small_trace());
  log.finish("done");
}

CATCH_TEST_CASE("run.json holds what it was told, in the latest version") {
  const TemporaryFolder folder;
  const std::string logs = folder.path() + "/a/b";
  RunLog log(logs, {});
  const auto run = [&] { return Json::parse(read(logs + "/run.json")); };
  CATCH_CHECK(run().at("plan").is_null());
  CATCH_CHECK(run().at("end").is_null());
  log.note("model", "GPT");
  log.note("tokens", std::int64_t{128});
  log.note("tokens", std::int64_t{256});
  log.note("rate", 0.5);
  log.finish("done", 0xABCDU);
  CATCH_CHECK(run().at("notes") == Json({{"model", "GPT"}, {"tokens", 256}, {"rate", 0.5}}));
  CATCH_CHECK(run().at("end") == Json({{"how", "done"}, {"fingerprint", "000000000000abcd"}}));
  log.finish("interrupted");
  CATCH_CHECK(run().at("end").at("fingerprint").is_null());
}

CATCH_TEST_CASE("steps are lines of JSON and rows of a table whose columns grow with new names") {
  const TemporaryFolder folder;
  RunLog log(folder.path(), {});
  log.add(stats_of(1));
  log.add(stats_of(2), {{"tokens_per_second", 5}});
  log.add(stats_of(3), {{"validation_loss", std::nan("")}});
  log.add(stats_of(4), {{"validation_loss", 0.25}, {"tokens_per_second", 6}});

  const auto steps = lines_of(read(folder.path() + "/steps.jsonl"));
  CATCH_REQUIRE(steps.size() == 4);
  CATCH_CHECK(Json::parse(steps[1]).at("tokens_per_second") == 5);
  CATCH_CHECK(Json::parse(steps[2]).at("validation_loss").is_null());
  CATCH_CHECK(Json::parse(steps[0]).at("cpu_by_kind") == Json({{"param", 7}}));

  const auto rows = lines_of(read(folder.path() + "/steps.csv"));
  CATCH_REQUIRE(rows.size() == 5);
  CATCH_CHECK(rows[0].starts_with("step,loss,lr,grad_norm,"));
  CATCH_CHECK(rows[0].ends_with(",tokens_per_second,validation_loss"));
  CATCH_CHECK(rows[0].find("by_kind") == rows[0].npos);
  for (const auto& row : rows)
    CATCH_CHECK(std::count(row.begin(), row.end(), ',') == std::count(rows[0].begin(), rows[0].end(), ','));
  CATCH_CHECK(rows[1].starts_with("1,0.0,0.0,,"));
  CATCH_CHECK(rows[1].ends_with(",,"));
  CATCH_CHECK(rows[2].ends_with(",5.0,"));
  CATCH_CHECK(rows[3].ends_with(",,"));
  CATCH_CHECK(rows[4].ends_with(",6.0,0.25"));
}

CATCH_TEST_CASE("trace.json holds all traces so far, and what overlaps lies on lanes of its own") {
  const TemporaryFolder folder;
  RunLog log(folder.path(), {});
  log.add(small_trace());
  log.add(small_trace());
  const auto trace = Json::parse(read(folder.path() + "/trace.json"));
  CATCH_CHECK(trace.at("otherData").at("steps") == Json({3, 3}));
  CATCH_CHECK(trace.at("otherData").at("limits") == Json({{"gpu", 100}, {"cpu", nullptr}}));
  const auto& residency = trace.at("otherData").at("residency").at(0);
  CATCH_CHECK(residency.at("moments") == 2);
  CATCH_CHECK(residency.at("end_us") == 1000);
  const Json row = {{"name", "activation 345 (aten::gelu)"},
                    {"list", "activations"},
                    {"bytes", 8192},
                    {"spans", Json::array({Json::array({0, 2, "gpu"})})}};
  CATCH_CHECK(residency.at("rows") == Json::array({row}));
  const auto& memory = trace.at("otherData").at("memory").at(0);
  CATCH_CHECK(memory.at("moments") == Json({0, 1}));
  CATCH_CHECK(memory.at("kinds").at("param") == Json({0, 1}));
  std::vector<int> reads;
  for (const auto& event : trace.at("traceEvents"))
    if (event.at("ph") == "X" && event.at("cat") == "disk") reads.push_back(event.at("tid").get<int>());
  CATCH_CHECK(std::vector<int>(reads.begin(), reads.begin() + 3) == std::vector<int>{5, 501, 5});
  const auto& first = trace.at("traceEvents").at(1);
  CATCH_CHECK(first.at("name") == "NVMe read");
  CATCH_CHECK(first.at("ts") == 100.0);
  CATCH_CHECK(first.at("dur") == 200.0);
  CATCH_CHECK(first.at("args") == Json({{"what", "chunk 12 exp_avg"}, {"bytes", 4096}}));
}

CATCH_TEST_CASE("files of an earlier run are replaced") {
  const TemporaryFolder folder;
  {
    RunLog log(folder.path(), {});
    log.add(stats_of(1));
    log.add(small_trace());
    log.finish("done");
  }
  RunLog log(folder.path(), {});
  CATCH_CHECK(read(folder.path() + "/steps.jsonl").empty());
  CATCH_CHECK(read(folder.path() + "/steps.csv").empty());
  CATCH_CHECK(Json::parse(read(folder.path() + "/run.json")).at("end").is_null());
  CATCH_CHECK_FALSE(std::filesystem::exists(folder.path() + "/trace.json"));
}

CATCH_TEST_CASE("a folder that another run writes to is refused, and left as it is") {
  const TemporaryFolder folder;
  {
    RunLog log(folder.path(), {});
    log.note("model", "GPT");
    log.add(stats_of(1));
    CATCH_CHECK_THROWS_WITH(RunLog(folder.path(), {}), Catch::Contains("another run writes its logs to " +
                                                                       folder.path() + "; name another folder"));
    log.add(stats_of(2));
    CATCH_CHECK(lines_of(read(folder.path() + "/steps.jsonl")).size() == 2);
    CATCH_CHECK(Json::parse(read(folder.path() + "/run.json")).at("notes").at("model") == "GPT");
  }
  CATCH_CHECK_NOTHROW(RunLog(folder.path(), {}));
}

CATCH_TEST_CASE("a killed run leaves a folder that can be read", "[fault]") {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  CATCH_REQUIRE(child >= 0);
  if (child == 0) {
    RunLog log(folder.path(), {});
    for (std::int64_t step = 1;; ++step) {
      log.add(stats_of(step), {{std::string("x").append(std::to_string(step % 40)), 1}});
      log.add(small_trace());
      log.note("step", step);
      if (step == 60) ::kill(::getpid(), SIGKILL);
    }
  }
  int status = 0;
  CATCH_REQUIRE(::waitpid(child, &status, 0) == child);
  CATCH_REQUIRE(WIFSIGNALED(status));
  const auto steps = lines_of(read(folder.path() + "/steps.jsonl"));
  CATCH_CHECK(steps.size() == 60);
  for (const auto& line : steps) CATCH_CHECK_NOTHROW(Json::parse(line));
  CATCH_CHECK(lines_of(read(folder.path() + "/steps.csv")).size() == 61);
  CATCH_CHECK(Json::parse(read(folder.path() + "/trace.json")).at("otherData").at("steps").size() == 60);
  CATCH_CHECK(Json::parse(read(folder.path() + "/run.json")).at("notes").at("step") == 60);
  CATCH_CHECK_NOTHROW(RunLog(folder.path(), {}));  // and that is free again
}

CATCH_TEST_CASE("a folder that cannot be made is a complaint about it") {
  const TemporaryFolder folder;
  std::ofstream(folder.path() + "/file") << "x";
  CATCH_CHECK_THROWS_AS(RunLog(folder.path() + "/file/logs", {}), ConfigError);
}

}  // namespace asterias
