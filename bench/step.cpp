// One training step of a GPT: plain libtorch with its fused AdamW, the engine with everything fitting, and the engine
// at budgets that hold a part of the model data. All contenders take turns in one process; times are compared within a
// round.
//
// Budgets are of the simulated accelerator's memory, as a share of the model data (16 bytes a parameter), with DRAM
// below, or DRAM and NVMe below if --nvme-path and --cpu-limit are given. Output: JSON with every contender's best and
// median step and its ratio to plain.
//
// Where everything fits, three more figures say what the engine costs:
//   --interception  forward and backward of the engine against those of a plain module, in turns within one process and
//                   under one allocator, so that what is left is the interception and what it calls
//   --allocations   calls of operator new in a step, plain and engine: those of our own code by place, and what
//                   libtorch allocates more than without us; at each budget, too
//   --profile S     S seconds of steps, sampled: the share of our own code by place, and waits (voluntary switches)
#include <chrono>
#include <ctime>
#include <functional>
#include <iostream>
#include <map>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <asterias/asterias.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "base/byte_size.hpp"
#include "base/median.hpp"
#include "base/thread_pool.hpp"
#include "bench/allocation_count.hpp"
#include "bench/gpt_training.hpp"
#include "bench/machine.hpp"
#include "bench/samples.hpp"
#include "bench/stack_sampler.hpp"

namespace {

using namespace asterias;
using bench::Batches;
using bench::Json;
using models::Gpt;
using Clock = std::chrono::steady_clock;

constexpr int kWarmUpSteps = 2;

struct Setting {
  bench::GptTraining training;
  int rounds = 7;
  int steps = 2;  // timed per round, after warm-up
  int threads = ThreadPool::default_num_threads();
  std::vector<int> percents{50, 25, 12};
  std::string nvme_path;
  std::string cpu_limit;
  int interception_steps = 0;
  bool counts_allocations = false;
  double profile_seconds = 0;
};

struct Contender {
  std::string name;
  int percent;  // of the model data on the compute tier; 0: plain libtorch; 100: everything fits, no accelerator
  std::vector<double> ms;
  StepStats last;
};

double ms_of(const std::function<void()>& what) {
  const auto start = Clock::now();
  what();
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// ---- the two ways to train ------------------------------------------------------------------------------------------

class PlainTraining {
 public:
  explicit PlainTraining(const Setting& setting)
      : model_(setting.training.make_model()), batches_(setting.training), parameters_(model_->parameters()) {
    for (const auto& parameter : parameters_) {
      exp_avgs_.push_back(torch::zeros_like(parameter));
      exp_avg_sqs_.push_back(torch::zeros_like(parameter));
      steps_.push_back(torch::zeros({}));
    }
  }

  void run_pass() {
    for (auto& parameter : parameters_) parameter.mutable_grad().reset();
    bench::loss_of(model_, batches_.next()).backward();
  }

  void take_step() {
    run_pass();
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> gradients;
    for (auto& parameter : parameters_) gradients.push_back(parameter.grad());
    at::_foreach_add_(steps_, 1);
    at::_fused_adamw_(parameters_, gradients, exp_avgs_, exp_avg_sqs_, {}, steps_, 1e-3, 0.9, 0.999, 1e-2, 1e-8, false,
                      false);
  }

 private:
  Gpt model_;
  Batches batches_;
  std::vector<torch::Tensor> parameters_, exp_avgs_, exp_avg_sqs_, steps_;
};

EngineConfig config_of(const Setting& setting, int percent) {
  EngineConfig config;
  config.cpu.threads = setting.threads;
  config.device = "cpu";
  if (percent == 100) return config;
  config.device = "simulated";
  config.tiers.gpu.limit.bytes = setting.training.model_data_bytes() * static_cast<std::uint64_t>(percent) / 100;
  if (!setting.nvme_path.empty()) config.tiers.nvme.paths = {setting.nvme_path};
  if (!setting.cpu_limit.empty()) config.tiers.cpu.limit.bytes = parse_bytes(setting.cpu_limit);
  return config;
}

class EngineTraining {
 public:
  EngineTraining(const Setting& setting, int percent)
      : batches_(setting.training),
        made_(initialize_engine([&] { return setting.training.make_model(); }, config_of(setting, percent))) {}

  void run_pass() {
    made_.optimizer.zero_grad();
    made_.engine.backward(bench::loss_of(made_.engine, batches_.next()));
  }

  void take_step() {
    run_pass();
    made_.optimizer.step();
  }

  const StepStats& stats() const { return made_.engine.stats(); }

 private:
  Batches batches_;
  Initialized<models::GptImpl> made_;
};

// ---- whole steps ----------------------------------------------------------------------------------------------------

void time_steps(const Setting& setting, Contender& contender, const std::function<void()>& take_step) {
  for (int i = 0; i < kWarmUpSteps; ++i) take_step();
  for (int i = 0; i < setting.steps; ++i) contender.ms.push_back(ms_of(take_step));
}

void run(const Setting& setting, Contender& contender) {
  if (contender.percent == 0) {
    PlainTraining training(setting);
    return time_steps(setting, contender, [&] { training.take_step(); });
  }
  EngineTraining training(setting, contender.percent);
  time_steps(setting, contender, [&] { training.take_step(); });
  contender.last = training.stats();
}

Json report(const Contender& contender, const Contender& plain) {
  Json row{{"name", contender.name},
           {"step_ms", bench::distribution(contender.ms)},
           {"ratio_to_plain", bench::compared(contender.ms, plain.ms)}};
  if (contender.percent == 0) return row;
  const StepStats& last = contender.last;
  row["forward_ms"] = last.forward_ms;
  row["backward_ms"] = last.backward_ms;
  row["update_ms"] = last.update_ms;
  row["stall_ms"] = last.stall_fetch_ms + last.stall_evict_ms;
  row["h2d_bytes"] = last.h2d_bytes;
  row["d2h_bytes"] = last.d2h_bytes;
  row["nvme_read_bytes"] = last.nvme_read_bytes;
  row["nvme_write_bytes"] = last.nvme_write_bytes;
  return row;
}

Json compare_steps(const Setting& setting) {
  std::vector<Contender> contenders{{"plain libtorch, fused AdamW", 0, {}, {}}, {"engine, unlimited", 100, {}, {}}};
  for (const int percent : setting.percents)
    contenders.push_back({"engine, " + std::to_string(percent) + " %", percent, {}, {}});
  for (int round = 0; round < setting.rounds; ++round)
    for (auto& contender : contenders) run(setting, contender);
  Json rows;
  for (const auto& contender : contenders) rows.push_back(report(contender, contenders.front()));
  return rows;
}

// ---- what the engine costs where everything fits --------------------------------------------------------------------

// Runs `what` as torch runs it without us: no operator is seen. Memory still comes from the engine's allocator.
void run_unseen(const std::function<void()>& what) {
  const c10::impl::ExcludeDispatchKeyGuard unseen(c10::DispatchKey::Fake);
  what();
}

// CPU time of all threads leaves out what other programs and machines took.
struct Passes {
  std::vector<double> ms, cpu_ms;

  void time(const std::function<void()>& pass) {
    const std::clock_t start = std::clock();
    ms.push_back(ms_of(pass));
    cpu_ms.push_back(static_cast<double>(std::clock() - start) * 1e3 / CLOCKS_PER_SEC);
  }
};

// The plain module is made while the engine is there, so that both lie in the same kind of memory.
Json compare_passes(const Setting& setting) {
  EngineTraining engine(setting, 100);
  std::unique_ptr<PlainTraining> plain;
  run_unseen([&] { plain = std::make_unique<PlainTraining>(setting); });
  const std::function<void()> seen = [&] { engine.run_pass(); };
  const std::function<void()> unseen = [&] { run_unseen([&] { plain->run_pass(); }); };
  Passes engine_passes, plain_passes;
  for (int i = 0; i < kWarmUpSteps; ++i) {  // whole ones: until the first update the engine measures
    engine.take_step();
    run_unseen([&] { plain->take_step(); });
  }
  for (int i = 0; i < setting.interception_steps; ++i) {  // who comes first takes turns
    if (i % 2 == 0) engine_passes.time(seen);
    plain_passes.time(unseen);
    if (i % 2 == 1) engine_passes.time(seen);
  }
  run_unseen([&] { plain.reset(); });
  return {{"engine_ms", bench::distribution(engine_passes.ms)},
          {"plain_ms", bench::distribution(plain_passes.ms)},
          {"ratio", bench::compared(engine_passes.ms, plain_passes.ms)},
          {"ratio_of_cpu_time", bench::compared(engine_passes.cpu_ms, plain_passes.cpu_ms)}};
}

// Of stacks: how many fall on which function.
struct Tally {
  struct Entry {
    std::int64_t amount = 0;
    std::string at;
  };
  std::map<std::string, Entry> by_function;

  void add(const std::string& function, const std::string& at, std::int64_t amount = 1) {
    Entry& entry = by_function[function];
    if (entry.at.empty()) entry.at = at;
    entry.amount += amount;
  }

  // Of functions of ours: "src/evict" and so on.
  Json by_folder(double unit) const {
    std::map<std::string, double> sums;
    for (const auto& [_, entry] : by_function)
      if (!entry.at.empty()) sums[entry.at.substr(0, entry.at.rfind('/'))] += static_cast<double>(entry.amount) * unit;
    return sums;
  }

  // The most first, amounts times `unit`; those that are not above 0 are left out.
  Json json(double unit) const {
    std::vector<std::pair<std::string, Entry>> rows;
    std::int64_t sum = 0;
    for (const auto& row : by_function) {
      if (row.second.amount > 0) rows.push_back(row);
      sum += row.second.amount;
    }
    std::stable_sort(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.second.amount > b.second.amount; });
    Json places = Json::array();
    for (const auto& [function, entry] : rows)
      places.push_back(
          {{"function", function}, {"at", entry.at}, {"amount", static_cast<double>(entry.amount) * unit}});
    return {{"sum", static_cast<double>(sum) * unit}, {"by_folder", by_folder(unit)}, {"places", places}};
  }
};

// Those that are of our own code, by place, and the others.
std::pair<Tally, Tally> tally(const std::vector<bench::Stack>& stacks) {
  const bench::StackNames names(stacks);
  Tally own, others;
  for (const auto& stack : stacks)
    if (const auto* place = names.own_place(stack))
      own.add(place->function, place->file.substr(place->file.rfind("src/")) + ":" + std::to_string(place->line));
    else
      others.add(names.other_function(stack), "");
  return {std::move(own), std::move(others)};
}

struct Allocations {
  std::uint64_t count;  // of all threads
  std::vector<bench::Stack> stacks;
};

// In steps after warm-up.
template <class Training>
Allocations allocations_of(Training& training) {
  constexpr std::size_t kMost = std::size_t{1} << 18;
  for (int i = 0; i < kWarmUpSteps + 1; ++i) training.take_step();
  const std::uint64_t before = bench::num_allocations();
  training.take_step();
  const std::uint64_t count = bench::num_allocations() - before;
  bench::AllocationStacks recording(kMost);
  training.take_step();
  return {count, recording.stop()};
}

// libtorch allocates for us, too: boxes of arguments. So its own are told by how many more they are than without us.
Json count_allocations(const Setting& setting, int percent, const Allocations& plain) {
  EngineTraining training(setting, percent);
  const Allocations engine = allocations_of(training);
  auto [own, others] = tally(engine.stacks);
  for (const auto& [function, entry] : tally(plain.stacks).second.by_function) others.add(function, "", -entry.amount);
  return {{"percent", percent},
          {"plain_per_step", plain.count},
          {"engine_per_step", engine.count},
          {"operators", training.stats().num_operators},
          {"own", own.json(1)},
          {"more_in_libtorch", others.json(1)}};
}

Json count_allocations(const Setting& setting) {
  const Allocations plain = [&] {
    PlainTraining training(setting);
    return allocations_of(training);
  }();
  Json json = count_allocations(setting, 100, plain);
  for (const int percent : setting.percents) json["budgets"].push_back(count_allocations(setting, percent, plain));
  return json;
}

std::int64_t num_waits() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

Json profile(const Setting& setting) {
  constexpr std::size_t kMost = std::size_t{1} << 17;
  EngineTraining engine(setting, 100);
  for (int i = 0; i < kWarmUpSteps + 1; ++i) engine.take_step();
  int steps = 0;
  double ms = 0;
  const std::int64_t waits_before = num_waits();
  bench::StackSampler sampler(kMost);
  while (ms < setting.profile_seconds * 1e3) {
    ms += ms_of([&] { engine.take_step(); });
    ++steps;
  }
  const auto stacks = sampler.stop();
  Json json{{"steps", steps},
            {"samples", stacks.size()},
            {"waits_per_step", static_cast<double>(num_waits() - waits_before) / steps}};
  json["own"] = tally(stacks).first.json(stacks.empty() ? 0 : 1.0 / static_cast<double>(stacks.size()));
  return json;
}

Json run_all(const Setting& setting) {
  Json json{{"bench", "step"}, {"machine", bench::machine()}};
  json["configuration"] = {{"model", setting.training.json()},
                           {"threads", setting.threads},
                           {"rounds", setting.rounds},
                           {"steps", setting.steps}};
  json["contenders"] = compare_steps(setting);
  if (setting.interception_steps > 0) json["interception"] = compare_passes(setting);
  if (setting.counts_allocations) json["allocations"] = count_allocations(setting);
  if (setting.profile_seconds > 0) json["profile"] = profile(setting);
  return json;
}

}  // namespace

int main(int argc, char** argv) try {
  Setting setting;
  CLI::App app("Times one training step: plain libtorch against the engine at several budgets");
  app.add_option("--rounds", setting.rounds, "rounds, each contender once a round")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", setting.steps, "timed steps per contender and round")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--threads", setting.threads, "torch and update threads")->check(CLI::PositiveNumber);
  setting.training.declare(app);
  app.add_option("--percents", setting.percents, "budgets on the accelerator, of the model data")
      ->delimiter(',')
      ->check(CLI::Range(1, 99))
      ->capture_default_str();
  app.add_flag_callback(
      "--no-budgets", [&] { setting.percents.clear(); }, "only plain and unlimited");
  app.add_option("--nvme-path", setting.nvme_path, "folder for swap files below the budgets");
  app.add_option("--cpu-limit", setting.cpu_limit, "DRAM limit of the budgeted runs");
  app.add_option("--interception", setting.interception_steps, "passes with and without the interception");
  app.add_flag("--allocations", setting.counts_allocations, "count calls of operator new in a step");
  app.add_option("--profile", setting.profile_seconds, "seconds of steps to sample");
  CLI11_PARSE(app, argc, argv);
  torch::set_num_threads(setting.threads);
  std::cout << run_all(setting).dump(2) << "\n";
} catch (const std::exception& error) {
  std::cerr << "bench_step: " << error.what() << "\n";
  return 1;
}
