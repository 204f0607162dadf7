// Plays a recorded step (`asterias plan --save-script`) through every eviction policy, on the budgets and rates it was
// recorded with and on others, without a model and without moving a byte.
//
// A row is a policy on a budget: seconds per step, bytes moved, the ratio to the slowest resource, and the speed-up
// over what others do there: LRU on demand, PatrickStar's fifo, DeepSpeed's static partition. Below the table of
// budgets, what other hardware and chunks of another size would give the first policy. Output: text, or JSON with
// --json.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "evict/chunk_size.hpp"
#include "evict/recorded_step.hpp"
#include "evict/update_placement.hpp"

namespace {

using asterias::Tier;
using asterias::evict::Edge;
using asterias::evict::RecordedStep;
using asterias::evict::Simulation;
using asterias::evict::StepTimes;
using Json = nlohmann::ordered_json;

constexpr const char* kYes = "yes";
constexpr const char* kNo = "no";
constexpr const char* kOnDemand = "lru on demand";
constexpr const char* kChosen = "auto";

std::string mib_text(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / static_cast<double>(asterias::kMiB));
  return text;
}

struct Setting {
  std::string path;
  std::vector<std::string> policies;
  std::vector<std::string> gpu_limits;
  std::string cpu_limit, nvme_read, nvme_write, h2d, d2h, update_on_gpu, late_updates;
  std::int64_t look_ahead = -1;
  bool is_json = false;
};

struct Row {
  std::string policy;
  std::string budget;
  Simulation result;
  bool fits;
};

std::uint64_t bytes_of(const std::string& text) {
  const auto bytes = asterias::parse_bytes(text);
  if (!bytes) throw asterias::ConfigError("'" + text + "' is not a size, such as 8GiB");
  return *bytes;
}

RecordedStep read_step(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw asterias::ConfigError(path + " cannot be read");
  std::stringstream text;
  text << file.rdbuf();
  return asterias::evict::recorded_step_from_json(text.str(), path);
}

void override_rate(RecordedStep& step, Edge edge, const std::string& rate) {
  if (!rate.empty()) step.tiers.rates.of(edge).bytes_per_second = static_cast<double>(bytes_of(rate));
}

// Those that the runtime would choose, or the first chunks, whose gradients are final last.
void place_updates(RecordedStep& step, const std::string& where) {
  asterias::evict::ChunkNumbers all;
  std::uint64_t count = 0;
  for (const auto& actor : step.script.actors)
    if (actor.update_index >= 0) count += all.insert(actor.chunk).second;
  const bool is_chosen = where == kChosen;
  const auto above = is_chosen ? asterias::evict::choose_updates_above(step.script, step.tiers, all, true) : all;
  const std::uint64_t percent = is_chosen ? 100 : std::stoull(where);
  for (auto& actor : step.script.actors) {
    const bool is_among = (static_cast<std::uint64_t>(actor.update_index) + 1) * 100 <= count * percent;
    const bool goes = actor.update_index >= 0 && is_among && above.contains(actor.chunk);
    actor.update_tier = goes ? Tier::kGpu : Tier::kCpu;
  }
}

RecordedStep placed(RecordedStep step, const Setting& setting) {
  if (!setting.update_on_gpu.empty()) place_updates(step, setting.update_on_gpu);
  return step;
}

RecordedStep load(const Setting& setting) {
  RecordedStep step = read_step(setting.path);
  override_rate(step, Edge::kH2d, setting.h2d);
  override_rate(step, Edge::kD2h, setting.d2h);
  override_rate(step, Edge::kNvmeRead, setting.nvme_read);
  override_rate(step, Edge::kNvmeWrite, setting.nvme_write);
  if (!setting.cpu_limit.empty()) step.tiers.room[static_cast<int>(Tier::kCpu)] = bytes_of(setting.cpu_limit);
  if (!setting.late_updates.empty()) step.tiers.puts_off_updates = setting.late_updates == kYes;
  if (setting.look_ahead >= 0) step.tiers.look_ahead = static_cast<std::uint64_t>(setting.look_ahead);
  return step;
}

bool fits(const RecordedStep& step, const Simulation& result) {
  for (const Tier tier : step.tiers.levels) {
    const auto at = static_cast<std::size_t>(tier);
    const std::uint64_t libraries = tier == Tier::kCpu ? step.tiers.library_bytes : 0;
    if (asterias::evict::sum_of(result.peak_content[at]) - libraries > step.tiers.room[at]) return false;
  }
  return true;
}

Row play(RecordedStep step, const std::string& policy, const std::string& budget) {
  const bool on_demand = policy == kOnDemand;
  step.policy = on_demand ? "lru" : policy;
  if (on_demand) step.tiers.look_ahead = 0;
  const Simulation result = step.play();
  return {policy, budget, result, fits(step, result)};
}

std::vector<std::string> policies_of(const Setting& setting) {
  if (!setting.policies.empty()) return setting.policies;
  std::vector<std::string> policies;
  for (const auto name : asterias::evict::policy_names()) policies.emplace_back(name);
  policies.emplace_back(kOnDemand);
  return policies;
}

// The compute tier's budgets, as recorded first.
std::vector<std::pair<std::string, RecordedStep>> budgets_of(const Setting& setting, const RecordedStep& step) {
  std::vector<std::pair<std::string, RecordedStep>> budgets;
  const auto compute = static_cast<std::size_t>(step.tiers.levels.front());
  const std::uint64_t room = step.tiers.room[compute];
  if (setting.gpu_limits.empty()) budgets.emplace_back(room == UINT64_MAX ? "unlimited" : mib_text(room), step);
  for (const auto& limit : setting.gpu_limits) {
    budgets.emplace_back(limit, step);
    budgets.back().second.tiers.room[compute] = bytes_of(limit);
  }
  return budgets;
}

// The first policy on other hardware, and with chunks of another size.
std::vector<Row> what_if(const RecordedStep& step, const std::string& policy, const Setting& setting) {
  std::vector<Row> rows{play(placed(step, setting), policy, "as it is")};
  const auto doubled = [](std::uint64_t room) { return room > UINT64_MAX / 2 ? UINT64_MAX : 2 * room; };
  const auto add = [&](const char* what, const auto& change) {
    RecordedStep other = step;
    change(other);
    rows.push_back(play(placed(other, setting), policy, what));
  };
  const bool has_drive = step.tiers.levels.back() == Tier::kNvme, has_gpu = step.tiers.levels.front() == Tier::kGpu;
  if (has_drive)
    add("a second drive", [](RecordedStep& other) {
      for (const Edge edge : {Edge::kNvmeRead, Edge::kNvmeWrite}) other.tiers.rates.of(edge).bytes_per_second *= 2;
    });
  if (has_gpu)
    add("twice the links", [](RecordedStep& other) {
      for (const Edge edge : {Edge::kH2d, Edge::kD2h}) other.tiers.rates.of(edge).bytes_per_second *= 2;
    });
  for (const Tier tier : step.tiers.levels)
    if (tier != Tier::kNvme)
      add(tier == Tier::kGpu ? "twice the accelerator" : "twice the DRAM", [&](RecordedStep& other) {
        auto& room = other.tiers.room[static_cast<std::size_t>(tier)];
        room = doubled(room);
      });
  using asterias::evict::with_larger_chunks, asterias::evict::with_smaller_chunks;
  add("chunks of twice the size", [](RecordedStep& other) { other.script = with_larger_chunks(other.script); });
  add("chunks of half the size", [](RecordedStep& other) { other.script = with_smaller_chunks(other.script); });
  return rows;
}

double seconds(const Row& row) { return static_cast<double>(row.result.times.step_ns) / 1e9; }

double of_slowest(const Row& row) { return seconds(row) / (static_cast<double>(row.result.times.slowest_ns()) / 1e9); }

std::uint64_t moved_bytes(const Row& row) {
  std::uint64_t sum = 0;
  for (const auto bytes : row.result.moved_bytes) sum += bytes;
  return sum;
}

// NaN where that policy was not played.
double speed_up(const Row& row, const std::vector<Row>& rows, const std::string& policy) {
  for (const auto& other : rows)
    if (other.budget == row.budget && other.policy == policy) return seconds(other) / seconds(row);
  return NAN;
}

std::string ratio_text(double ratio) {
  if (std::isnan(ratio)) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", ratio);
  return text;
}

void print_rows(const char* first, const char* second, const std::vector<Row>& rows, bool with_others) {
  std::printf("%-24s%14s%10s%14s%12s", first, second, "s/step", "moved", "/ slowest");
  if (with_others) std::printf("%10s%10s%10s", "x demand", "x fifo", "x static");
  std::printf("   slowest\n");
  for (const auto& row : rows) {
    std::printf("%-24s%14s%10.3f%14s%12.2f", (with_others ? row.policy : row.budget).c_str(),
                (with_others ? row.budget : row.policy).c_str(), seconds(row), mib_text(moved_bytes(row)).c_str(),
                of_slowest(row));
    if (with_others)
      for (const char* other : {kOnDemand, "fifo", "static"})
        std::printf("%10s", ratio_text(speed_up(row, rows, other)).c_str());
    std::printf("   %s%s\n", row.result.times.slowest_resource(), row.fits ? "" : " (does not fit)");
  }
}

Json json_of(const Row& row, const std::vector<Row>& rows) {
  const auto& times = row.result.times;
  Json json{{"policy", row.policy},
            {"budget", row.budget},
            {"fits", row.fits},
            {"step_seconds", seconds(row)},
            {"work_seconds", static_cast<double>(times.work_ns()) / 1e9},
            {"update_seconds", static_cast<double>(times.update_ns) / 1e9},
            {"stall_seconds", static_cast<double>(times.stalled_ns()) / 1e9},
            {"slowest_resource", times.slowest_resource()},
            {"ratio_to_slowest", of_slowest(row)}};
  for (int at = 0; at < asterias::evict::kNumEdges; ++at) {
    const auto edge = static_cast<Edge>(at);
    const std::string name(edge_name(edge));
    json["moved_bytes"][name] = row.result.moved(edge);
    json["busy_seconds"][name] = static_cast<double>(times.busy(edge)) / 1e9;
    json["stalled_seconds"][name] = static_cast<double>(times.stalled(edge)) / 1e9;
  }
  for (const char* other : {kOnDemand, "fifo", "static"})
    if (const double ratio = speed_up(row, rows, other); !std::isnan(ratio)) json["speed_up"][other] = ratio;
  return json;
}

void report(const Setting& setting, const std::vector<Row>& rows, const std::vector<Row>& others) {
  if (!setting.is_json) {
    print_rows("policy", "budget", rows, true);
    std::printf("\n");
    return print_rows("what if", "policy", others, false);
  }
  Json json{{"benchmark", "replay"}, {"file", setting.path}};
  for (const auto& row : rows) json["rows"].push_back(json_of(row, rows));
  for (const auto& row : others) json["what_if"].push_back(json_of(row, others));
  std::cout << json.dump(2) << "\n";
}

}  // namespace

int main(int argc, char** argv) try {
  Setting setting;
  CLI::App app("Plays a recorded step through eviction policies, budgets and rates");
  std::vector<std::string> known{kOnDemand};
  for (const auto name : asterias::evict::policy_names()) known.emplace_back(name);
  app.add_option("file", setting.path, "a recorded step, from asterias plan --save-script")->required();
  app.add_option("--policy", setting.policies, "policies; unset: all")->check(CLI::IsMember(known));
  app.add_option("--gpu-limit", setting.gpu_limits, "room on the compute tier, several for several budgets");
  app.add_option("--cpu-limit", setting.cpu_limit, "room in DRAM, libraries left out");
  app.add_option("--h2d", setting.h2d, "rates: bytes per second, e.g. 2GiB");
  app.add_option("--d2h", setting.d2h);
  app.add_option("--nvme-read", setting.nvme_read);
  app.add_option("--nvme-write", setting.nvme_write);
  app.add_option("--prefetch", setting.look_ahead, "residents fetched ahead")->check(CLI::Range(0, 1024));
  app.add_option("--late-updates", setting.late_updates,
                 "whether a chunk's update waits until somebody uses the chunk: yes or no; unset: as recorded")
      ->check(CLI::IsMember({kYes, kNo}));
  app.add_option("--update-on-gpu", setting.update_on_gpu,
                 "chunks that are updated on the compute tier: auto, or percent; unset: as recorded")
      ->check(CLI::IsMember({kChosen}) | CLI::Range(0, 100));
  app.add_flag("--json", setting.is_json, "print JSON");
  CLI11_PARSE(app, argc, argv);
  const RecordedStep step = load(setting);
  const auto policies = policies_of(setting);
  std::vector<Row> rows;
  for (const auto& [budget, changed] : budgets_of(setting, step))
    for (const auto& policy : policies) rows.push_back(play(placed(changed, setting), policy, budget));
  report(setting, rows, what_if(step, policies.front(), setting));
} catch (const std::exception& error) {
  std::cerr << "bench_replay: " << error.what() << "\n";
  return 1;
}
