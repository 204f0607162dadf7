// How near a step within budgets comes to its slowest resource, and how well that was foretold: a GPT on the simulated
// accelerator with declared links, one core left for what moves.
//
// One configuration a process (bench/run_all has a table of them): the share of the model data that fits the
// accelerator, the speed of the links as a share of what memcpy does in one direction while both are busy, and, with a
// drive, the DRAM beside the libraries. Contenders take turns in every round, each a new engine with steps that warm
// up: the engine as it is by default, the same budgets with LRU on demand (no fetching ahead), `fifo` and `static`, and
// no budgets at all.
//
// Of a steady step:
//   resources   the processor: the step less what it waited for moves; links and drive: the time they were busy. The
//               slowest of them is what no order of moves could go below. A drive is also told at the rate that was
//               measured for its mix just before and after (`drive_at_rate_ms`): small or lone requests keep it busy,
//               too, and more than that rate would.
//   ideal       the slowest of what is needed: the processor's time without budgets, so without what moving costs it,
//               the links as declared, the drive at that rate, and what can only be done in turn where chunks are
//               updated on the CPU: all work, the way down of the input table's gradient, which is the last of
//               backward, and the way up of the table, which forward begins with. Where step() puts nothing off:
//               forward, and the way down of all gradients. With --tables-in-dram no table has a way
//   foretold    Engine::simulate with the links as declared and the drive as fast as moves over it were in the steps
//               just before and after, and the peaks of Engine::plan, both without the measured steps
//   planning    the time of plan(), of simulate(), and of as many as the engine does itself, against that of 100 steps
//
//   bench_schedule --percent 25 --link-share 0.2 [--nvme-path DIR --room 128MiB] [--rounds 7] [model]
#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <optional>

#include <CLI/CLI.hpp>
#include <asterias/asterias.h>

#include "base/byte_size.hpp"
#include "base/median.hpp"
#include "base/process_memory.hpp"
#include "base/thread_pool.hpp"
#include "bench/gpt_training.hpp"
#include "bench/machine.hpp"
#include "bench/samples.hpp"
#include "runtime/copy_probe.hpp"
#include "runtime/link_rates.hpp"
#include "runtime/nvme_probe.hpp"

namespace {

using namespace asterias;
using bench::Json;
using Clock = std::chrono::steady_clock;

constexpr int kWarmUpSteps = 6;  // until the engine has made its first forecast
constexpr int kForecasts = 3;    // in 100 steps: after the 6th and the 48th by the engine, and one more
constexpr const char* kDefault = "default";
constexpr const char* kUnlimited = "unlimited";

struct Setting {
  bench::GptTraining training{{4096, 128, 8, 384, 6, 0.0}, 2};
  int percent = 25;             // of the model data, on the accelerator
  double link_share = 0.2;      // of memcpy
  std::string nvme_path;        // empty: DRAM holds the rest
  std::string room = "128MiB";  // in DRAM beside the libraries, with a drive
  int rounds = 7;
  int other_rounds = 7;  // the first so many, in which the other policies take their turns
  int steps = 3;         // measured per round and contender
  int threads = std::max(1, ThreadPool::default_num_threads() - 1);
  double probe_seconds = 0.3;
  std::vector<std::string> others{"lru_on_demand", "fifo", "static"};
  double clip = 0;
  bool late_updates = true;
  bool tables_in_dram = false;
  std::string script_path;  // for the recorded step; empty: not kept

  bool has_drive() const { return !nvme_path.empty(); }
};

struct Links {
  double memcpy_bytes_per_second;  // of one direction while both are busy
  std::uint64_t bytes_per_second;  // declared, each way
};

Links measure_links(double share) {
  runtime::CopyProbe probe(512 * kMiB);
  probe.both_ways_rate(4 * kMiB);  // warms up
  std::vector<double> rates;
  for (int round = 0; round < 5; ++round) rates.push_back(probe.both_ways_rate(4 * kMiB) / 2);
  return {median(rates), static_cast<std::uint64_t>(share * median(rates))};
}

// Of reads and writes together, in the update's mix; 0 without a drive.
double drive_rate(const Setting& setting) {
  if (!setting.has_drive()) return 0;
  runtime::NvmeProbe probe({setting.nvme_path}, IoConfig(), 128 * kMiB);
  return probe.rate(runtime::Traffic::kUpdate, setting.probe_seconds);
}

// ---- one contender --------------------------------------------------------------------------------------------------

// What several rounds of one contender gave, an entry a measured step.
struct Steps {
  std::vector<double> step_ms, forward_ms, processor_ms, h2d_ms, d2h_ms, drive_ms, drive_at_rate_ms, slowest_ms,
      slowest_at_rate_ms;
  StepStats last;

  void add(const StepStats& stats, double bytes_per_second) {
    const double stalled_ms = stats.stall_fetch_ms + stats.stall_evict_ms;
    const auto drive_bytes = static_cast<double>(stats.nvme_read_bytes + stats.nvme_write_bytes);
    const double at_rate_ms = bytes_per_second > 0 ? drive_bytes / bytes_per_second * 1e3 : 0;
    step_ms.push_back(stats.wall_ms);
    forward_ms.push_back(stats.forward_ms);
    processor_ms.push_back(stats.wall_ms - stalled_ms);
    h2d_ms.push_back(stats.busy_h2d_ms);
    d2h_ms.push_back(stats.busy_d2h_ms);
    drive_ms.push_back(stats.busy_nvme_ms);
    drive_at_rate_ms.push_back(at_rate_ms);
    const double others_ms = std::max({processor_ms.back(), stats.busy_h2d_ms, stats.busy_d2h_ms});
    slowest_ms.push_back(std::max(others_ms, stats.busy_nvme_ms));
    slowest_at_rate_ms.push_back(std::max(others_ms, at_rate_ms));
    last = stats;
  }

  const char* slowest_resource() const {
    const std::pair<double, const char*> resources[] = {{median(processor_ms), "processor"},
                                                        {median(h2d_ms), "link to the accelerator"},
                                                        {median(d2h_ms), "link from the accelerator"},
                                                        {median(drive_ms), "drive"}};
    return std::max_element(std::begin(resources), std::end(resources))->second;
  }
};

// What was foretold, as a share of what then was; an entry a round.
struct Forecasts {
  std::vector<double> step_ms, planning_ms, step_ratio;
  std::array<std::vector<double>, kNumTiers> peak_ratio;
};

struct Contender {
  std::string name;
  Steps steps = {};
  Forecasts forecasts = {};  // of the default only, as is what follows
  double share_below = 1;    // of the chunks: updated on the CPU
};

EngineConfig config_of(const Setting& setting, const Links& links, const std::string& name) {
  EngineConfig config;
  config.cpu.threads = setting.threads;
  config.device = "cpu";
  if (name == kUnlimited) return config;
  config.device = "simulated";
  config.tiers.gpu.limit.bytes =
      setting.training.model_data_bytes() * static_cast<std::uint64_t>(setting.percent) / 100;
  config.tiers.gpu.link = {links.bytes_per_second, links.bytes_per_second};
  if (setting.has_drive()) {
    constexpr std::uint64_t kLibrariesGrowBy = 64 * kMiB;  // until a step is over
    config.tiers.nvme.paths = {setting.nvme_path};
    config.tiers.cpu.limit.bytes = resident_set_bytes() + kLibrariesGrowBy + *parse_bytes(setting.room);
  }
  config.gradient_clipping = setting.clip;
  config.placement.late_update = setting.late_updates;
  config.use_cpu_embedding = setting.tables_in_dram;
  if (name == "lru_on_demand") {
    config.placement.eviction = Eviction::kLru;
    config.prefetch = 0;
  }
  if (name == "fifo") config.placement.eviction = Eviction::kFifo;
  if (name == "static") config.placement.eviction = Eviction::kStatic;
  return config;
}

using Training = Initialized<models::GptImpl>;

void take_step(Training& training, bench::Batches& batches) {
  training.optimizer.zero_grad();
  training.engine.backward(bench::loss_of(training.engine, batches.next()));
  training.optimizer.step();
}

MoveRates rates_of(const Links& links, double drive) {
  MoveRates rates = runtime::declared_rates({links.bytes_per_second, links.bytes_per_second});
  for (const auto edge : {evict::Edge::kNvmeRead, evict::Edge::kNvmeWrite}) rates.of(edge).bytes_per_second = drive;
  return rates;
}

// What moves had of the drive while it was busy: few requests at once have less than the full queue of a probe.
double rate_of_moves(const StepStats& before, const StepStats& after) {
  const auto bytes = [](const StepStats& stats) { return stats.nvme_read_bytes + stats.nvme_write_bytes; };
  const double busy_ms = before.busy_nvme_ms + after.busy_nvme_ms;
  return busy_ms > 0 ? static_cast<double>(bytes(before) + bytes(after)) / busy_ms * 1e3 : 0;
}

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The simulation comes after the steps, since the drive's rate does; it knows nothing of how long they took as a whole.
void foretell(Training& training, const Plan& plan, double planning_ms, const MoveRates& rates,
              const std::vector<StepStats>& steps, Forecasts& forecasts) {
  const auto start = Clock::now();
  const auto simulation = training.engine.simulate(rates);
  forecasts.planning_ms.push_back(planning_ms + kForecasts * ms_since(start));
  if (!simulation) throw StateError(StateError::Cause::kBug, "the passes were not written down");
  std::vector<double> measured_ms;
  for (const auto& stats : steps) measured_ms.push_back(stats.wall_ms);
  forecasts.step_ms.push_back(static_cast<double>(simulation->times.step_ns) / 1e6);
  forecasts.step_ratio.push_back(forecasts.step_ms.back() / median(measured_ms));
  for (const auto& tier : plan.tiers) {
    std::uint64_t peak = 0;
    for (const auto& stats : steps) peak = std::max(peak, stats.tiers[static_cast<std::size_t>(tier.tier)].peak_bytes);
    if (peak > 0)
      forecasts.peak_ratio[static_cast<std::size_t>(tier.tier)].push_back(
          static_cast<double>(tier.predicted_peak_bytes) / static_cast<double>(peak));
  }
}

void run(const Setting& setting, const Links& links, Contender& contender) {
  const double rate_before = drive_rate(setting);
  bench::Batches batches(setting.training);
  Training training =
      initialize_engine([&] { return setting.training.make_model(); }, config_of(setting, links, contender.name));
  for (int i = 0; i < kWarmUpSteps; ++i) take_step(training, batches);
  const auto start = Clock::now();
  const Plan plan = training.engine.plan();
  const double planning_ms = ms_since(start);
  take_step(training, batches);  // the steps' clock begins at the end of one
  const StepStats before = training.engine.stats();
  std::vector<StepStats> steps;
  for (int i = 0; i < setting.steps; ++i) {
    take_step(training, batches);
    steps.push_back(training.engine.stats());
  }
  take_step(training, batches);
  const MoveRates rates = rates_of(links, rate_of_moves(before, training.engine.stats()));
  const double rate = (rate_before + drive_rate(setting)) / 2;
  for (const auto& stats : steps) contender.steps.add(stats, rate);
  if (contender.name != kDefault) return;
  contender.share_below = static_cast<double>(plan.num_cpu_updates) /
                          static_cast<double>(std::max<std::uint64_t>(plan.num_cpu_updates + plan.num_gpu_updates, 1));
  foretell(training, plan, planning_ms, rates, steps, contender.forecasts);
  if (setting.script_path.empty()) return;
  auto step = *training.engine.recorded_step();
  step.tiers.rates = rates;
  evict::save(step, setting.script_path);
}

// ---- the report -----------------------------------------------------------------------------------------------------

Json report(const Setting& setting, const Steps& steps) {
  Json json{{"step_ms", bench::distribution(steps.step_ms)},
            {"slowest_resource", steps.slowest_resource()},
            {"ratio_to_slowest", bench::compared(steps.step_ms, steps.slowest_ms)},
            {"processor_ms", median(steps.processor_ms)},
            {"h2d_ms", median(steps.h2d_ms)},
            {"d2h_ms", median(steps.d2h_ms)},
            {"h2d_bytes", steps.last.h2d_bytes},
            {"d2h_bytes", steps.last.d2h_bytes}};
  if (!setting.has_drive()) return json;
  json["drive_ms"] = median(steps.drive_ms);
  json["drive_at_rate_ms"] = median(steps.drive_at_rate_ms);
  json["ratio_to_slowest_at_rate"] = bench::compared(steps.step_ms, steps.slowest_at_rate_ms);
  json["nvme_read_bytes"] = steps.last.nvme_read_bytes;
  json["nvme_write_bytes"] = steps.last.nvme_write_bytes;
  return json;
}

Json report_ideal(const Setting& setting, const Links& links, const Contender& ours, const Steps& unlimited) {
  const Steps& steps = ours.steps;
  const auto& model = setting.training.model;
  const double table_bytes =
      setting.tables_in_dram ? 0 : static_cast<double>(model.vocabulary * model.hidden) * sizeof(float);
  const double gradient_bytes = static_cast<double>(setting.training.model_data_bytes()) / 4;
  const double moved_bytes = ours.share_below * (setting.late_updates ? 2 * table_bytes : gradient_bytes);
  const double moves_ms = moved_bytes / static_cast<double>(links.bytes_per_second) * 1e3;
  const auto& work_ms = setting.late_updates ? unlimited.processor_ms : unlimited.forward_ms;
  std::vector<double> in_turn_ms, ideal_ms;
  for (std::size_t i = 0; i < steps.step_ms.size(); ++i) {
    in_turn_ms.push_back(work_ms[i] + moves_ms);
    ideal_ms.push_back(std::max(
        {unlimited.processor_ms[i], steps.h2d_ms[i], steps.d2h_ms[i], steps.drive_at_rate_ms[i], in_turn_ms.back()}));
  }
  return {{"processor_ms", median(unlimited.processor_ms)},
          {"in_turn_ms", median(in_turn_ms)},
          {"share_updated_on_cpu", ours.share_below},
          {"step_ms", bench::distribution(ideal_ms)},
          {"ratio", bench::compared(steps.step_ms, ideal_ms)}};
}

// The largest distance from 1 of a tier's median.
double worst_peak_error(const Forecasts& forecasts) {
  double worst = 0;
  for (const auto& ratios : forecasts.peak_ratio)
    if (!ratios.empty()) worst = std::max(worst, std::abs(median(ratios) - 1));
  return worst;
}

Json report(const Forecasts& forecasts) {
  Json json{{"step_ms", median(forecasts.step_ms)},
            {"step_over_measured", bench::distribution(forecasts.step_ratio)},
            {"step_error", std::abs(median(forecasts.step_ratio) - 1)},
            {"peak_error", worst_peak_error(forecasts)}};
  for (const Tier tier : {Tier::kGpu, Tier::kCpu, Tier::kNvme})
    if (const auto& ratios = forecasts.peak_ratio[static_cast<std::size_t>(tier)]; !ratios.empty())
      json["peak_over_measured"][std::string(tier_name(tier))] = bench::distribution(ratios);
  return json;
}

Json report(const Setting& setting, const Links& links, const std::vector<Contender>& contenders) {
  const Contender& ours = contenders.front();
  Json json{{"bench", "schedule"}, {"machine", bench::machine()}};
  json["configuration"] = {{"model", setting.training.json()},
                           {"percent", setting.percent},
                           {"link_share_of_memcpy", setting.link_share},
                           {"link_bytes_per_second", links.bytes_per_second},
                           {"memcpy_bytes_per_second", links.memcpy_bytes_per_second},
                           {"has_drive", setting.has_drive()},
                           {"threads", setting.threads},
                           {"rounds", setting.rounds},
                           {"other_rounds", setting.other_rounds},
                           {"steps", setting.steps}};
  if (setting.has_drive()) json["configuration"]["room"] = setting.room;
  json["configuration"]["clip"] = setting.clip;
  json["configuration"]["late_updates"] = setting.late_updates;
  json["configuration"]["tables_in_dram"] = setting.tables_in_dram;
  json.update(report(setting, ours.steps));
  json["ideal"] = report_ideal(setting, links, ours, contenders[1].steps);
  json["foretold"] = report(ours.forecasts);
  json["planning"] = {{"ms", bench::distribution(ours.forecasts.planning_ms)},
                      {"of_100_steps", median(ours.forecasts.planning_ms) / (100 * median(ours.steps.step_ms))}};
  for (const auto& other : contenders) {
    if (other.name == kDefault || other.name == kUnlimited) continue;
    const auto& theirs = other.steps.step_ms;
    const std::vector<double> in_the_same_rounds(
        ours.steps.step_ms.begin(), ours.steps.step_ms.begin() + static_cast<std::ptrdiff_t>(theirs.size()));
    json["others"][other.name] = report(setting, other.steps);
    json["speed_over"][other.name] = bench::compared(theirs, in_the_same_rounds);
  }
  return json;
}

Json run_rounds(const Setting& setting) {
  const Links links = measure_links(setting.link_share);
  std::vector<Contender> contenders{{kDefault}, {kUnlimited}};
  for (const auto& other : setting.others) contenders.push_back({other});
  for (int round = 0; round < setting.rounds; ++round)
    for (std::size_t i = 0; i < contenders.size(); ++i)
      if (i < 2 || round < setting.other_rounds) run(setting, links, contenders[i]);
  return report(setting, links, contenders);
}

}  // namespace

int main(int argc, char** argv) try {
  Setting setting;
  CLI::App app("Times steps within budgets against their slowest resource and against what was foretold");
  app.add_option("--percent", setting.percent, "of the model data that fits the accelerator")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--link-share", setting.link_share, "speed of each link, of memcpy's; at most a fifth")
      ->check(CLI::Range(1e-4, 0.2))
      ->capture_default_str();
  app.add_option("--nvme-path", setting.nvme_path, "folder on a drive for what DRAM does not hold");
  app.add_option("--room", setting.room, "DRAM beside the libraries, with a drive")->capture_default_str();
  app.add_option("--rounds", setting.rounds)->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--other-rounds", setting.other_rounds, "the first so many, in which the other policies take part")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", setting.steps, "measured per round and contender")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--threads", setting.threads, "that compute")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--clip", setting.clip,
                 "largest norm of the gradients; 0: no clipping, and updates while backward runs")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_flag_callback(
      "--no-late-updates", [&] { setting.late_updates = false; }, "step() puts nothing off");
  app.add_flag("--tables-in-dram", setting.tables_in_dram, "embedding tables stay in DRAM (use_cpu_embedding)");
  app.add_option("--save-script", setting.script_path, "write the recorded step there, for bench_replay");
  app.add_flag_callback(
      "--alone", [&] { setting.others.clear(); }, "without the other policies");
  setting.training.declare(app);
  CLI11_PARSE(app, argc, argv);
  if (!parse_bytes(setting.room)) throw ConfigError("--room " + setting.room + " is no size");
  torch::set_num_threads(setting.threads);
  std::cout << run_rounds(setting).dump(2) << "\n";
} catch (const std::exception& error) {
  std::cerr << "bench_schedule: " << error.what() << "\n";
  return 1;
}
