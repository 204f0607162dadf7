#include "tools/report/run_folder.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::tools::report {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kRun = "run.json";
constexpr const char* kConfig = "config.resolved.json";
constexpr const char* kSteps = "steps.jsonl";
constexpr const char* kTrace = "trace.json";
constexpr std::uint64_t kLargestJson = 256 * kMiB;  // a document takes some ten times its size in memory

// Opens a file of the folder, or notes why not and what the page lacks for it.
class Reader {
 public:
  Reader(RunFolder& run, const char* name, const std::string& lacks) : run_(run), name_(name), lacks_(lacks) {
    const fs::path path = fs::path(run.path) / name;
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      size_ = fs::file_size(path, error);
      file_.open(path, std::ios::binary);
      if (!file_) note("cannot be read");
    } else {
      note("is not there");
    }
  }

  bool is_open() const { return file_.is_open() && file_; }
  std::uint64_t size() const { return size_; }
  std::ifstream& file() { return file_; }
  void note(const std::string& what) { run_.notes.push_back(std::string(name_) + " " + what + ": " + lacks_); }

  // A whole document; discarded, with a note, when it is none.
  ordered_json document() {
    ordered_json json(ordered_json::value_t::discarded);
    if (!is_open()) return json;
    if (size_ > kLargestJson) return note("is larger than " + format_bytes(kLargestJson)), json;
    json = ordered_json::parse(file_, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) note("is cut off, or is not JSON");
    return json;
  }

 private:
  RunFolder& run_;
  const char* name_;
  std::string lacks_;
  std::uint64_t size_ = 0;
  std::ifstream file_;
};

std::string text_of(const ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
}

ordered_json object_in(const ordered_json& parent, const char* name) {
  const bool is_there = parent.is_object() && parent.contains(name) && parent[name].is_object();
  return is_there ? parent[name] : ordered_json::object();
}

double number_in(const ordered_json& object, const char* name) {
  const bool is_there = object.is_object() && object.contains(name) && object[name].is_number();
  return is_there ? object[name].get<double>() : std::numeric_limits<double>::quiet_NaN();
}

// A prediction of 0 means that nothing was measured yet.
double prediction_in(const ordered_json& object, const char* name) {
  const double predicted = number_in(object, name);
  return predicted == 0 ? std::numeric_limits<double>::quiet_NaN() : predicted;
}

// A limit of 2^64 - 1 means none.
double limit_in(const ordered_json& object, const char* name) {
  const double limit = number_in(object, name);
  return limit >= 1.8e19 ? std::numeric_limits<double>::quiet_NaN() : limit;
}

void read_plan(RunFolder& run, const ordered_json& plan) {
  for (const auto& [name, value] : plan.items())
    if (value.is_number()) run.plan_numbers[name] = value.get<double>();
  if (!plan.contains("tiers") || !plan["tiers"].is_array()) return;
  for (const auto& tier : plan["tiers"]) {
    if (!tier.is_object()) continue;
    run.plan.push_back({tier.contains("tier") ? text_of(tier["tier"]) : "", limit_in(tier, "limit_bytes"),
                        number_in(tier, "smallest_bytes"), prediction_in(tier, "predicted_peak_bytes")});
  }
}

void read_run(RunFolder& run) {
  const auto json = Reader(run, kRun, "model, plan and fingerprint are not shown").document();
  if (!json.is_object()) return;
  for (const auto& [name, value] : json.items())
    if (value.is_primitive()) run.about[name] = text_of(value);
  const auto notes = object_in(json, "notes"), end = object_in(json, "end");
  for (const auto& [name, value] : notes.items()) run.facts[name] = text_of(value);
  read_plan(run, object_in(json, "plan"));
  if (end.contains("how")) run.how_it_ended = text_of(end["how"]);
  if (end.contains("fingerprint")) run.fingerprint = text_of(end["fingerprint"]);
}

void read_config(RunFolder& run) {
  const auto json = Reader(run, kConfig, "the configuration is not shown").document();
  if (!json.is_discarded()) run.config = json.dump(2);
}

void read_steps(RunFolder& run) {
  Reader reader(run, kSteps, "nothing is shown by step");
  if (!reader.is_open()) return;
  run.steps.read(reader.file());
  if (const auto bad = run.steps.num_bad_lines(); bad > 0)
    run.notes.push_back(std::string(kSteps) + ": " + std::to_string(bad) + (bad == 1 ? " line is" : " lines are") +
                        " no JSON object and left out");
  if (run.steps.num_steps() == 0) run.notes.push_back(std::string(kSteps) + " holds no step yet");
}

void read_traces(RunFolder& run) {
  Reader reader(run, kTrace, "no step is shown from within");
  if (!reader.is_open()) return;
  if (reader.size() > kLargestJson) return reader.note("is larger than " + format_bytes(kLargestJson));
  std::string problem;
  run.traced = read_trace(reader.file(), &problem);
  if (!problem.empty()) reader.note(problem);
}

void refuse_other_folders(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    throw ConfigError(path + ": " + (fs::exists(path, error) ? "is not a folder" : "is not there") +
                      "; name the folder that --log-dir named");
  for (const char* name : {kRun, kConfig, kSteps, kTrace})
    if (fs::exists(fs::path(path) / name, error)) return;
  throw ConfigError(path + ": holds no log of a run (" + kRun + ", " + kSteps + ", " + kTrace + " or " + kConfig +
                    "); name the folder that --log-dir named");
}

}  // namespace

RunFolder read_run_folder(const std::string& path) {
  refuse_other_folders(path);
  RunFolder run;
  run.path = path;
  read_run(run);
  read_steps(run);
  read_traces(run);
  read_config(run);
  return run;
}

}  // namespace asterias::tools::report
