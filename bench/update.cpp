// The phase of a step in which the optimizer updates, held against what it cannot beat: in DRAM the bare kernel on
// arrays of the same sizes, with the state on a drive fio, which moves the bytes that the phase moved, with the same
// share of reads, blocks and depth, in the same folder.
//
// Rounds of one step each; the limit is measured before or after it, in turns. A drive is left alone until it is quiet
// before the phase and after it. What is on its way when step() returns is in the phase's bytes, so its time is added:
// `drain_ms`, from a recording of a few steps beside the rounds. Reads that ran ahead before the phase are neither in
// its time nor in its bytes.
//
//   bench_update [--nvme-path DIR [--room 64MiB]] [--rounds 9] [--threads 0] [model]    prints one JSON object
#include <algorithm>
#include <chrono>
#include <iostream>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <asterias/asterias.h>

#include "base/byte_size.hpp"
#include "base/median.hpp"
#include "base/process_memory.hpp"
#include "base/thread_pool.hpp"
#include "bench/fio_run.hpp"
#include "bench/gpt_training.hpp"
#include "bench/machine.hpp"
#include "bench/samples.hpp"
#include "device/page_block.hpp"
#include "hybrid_adam/update_kernel.hpp"

namespace {

using namespace asterias;
using bench::Json;
using Clock = std::chrono::steady_clock;

constexpr int kWarmUpSteps = 3;

struct Setting {
  bench::GptTraining training{{4096, 16, 5, 1024, 16, 0.0}, 1};
  std::string nvme_path;       // empty: all is in DRAM
  std::string room = "64MiB";  // in DRAM beside the libraries
  int rounds = 9;
  int threads = 0;

  EngineConfig config() const {
    EngineConfig config;
    config.device = "cpu";
    config.cpu.threads = threads;
    if (nvme_path.empty()) return config;
    constexpr std::uint64_t kLibrariesGrowBy = 64 * kMiB;  // until a step is over
    config.tiers.nvme.paths = {nvme_path};
    config.tiers.cpu.limit.bytes = resident_set_bytes() + kLibrariesGrowBy + *parse_bytes(room);
    return config;
  }
};

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// What one step's update took and moved.
struct Phase {
  double update_ms;
  double stalled_ms;  // of it, waiting for moves
  bench::Mix moved;
};

// A training whose update phases are measured.
class Training {
 public:
  explicit Training(const Setting& setting)
      : has_drive_(!setting.nvme_path.empty()),
        batches_(setting.training),
        made_(initialize_engine([&] { return setting.training.make_model(); }, setting.config())) {
    for (int step = 0; step < kWarmUpSteps; ++step) take_step();
  }

  Phase take_step() {
    made_.optimizer.zero_grad();
    made_.engine.backward(bench::loss_of(made_.engine, batches_.next()));
    await_quiet();
    const StepStats so_far = made_.engine.stats_so_far();
    const bench::Mix before = moved_bytes(so_far);
    made_.optimizer.step();
    await_quiet();
    const StepStats& stats = made_.engine.stats();
    const bench::Mix after = moved_bytes(stats);
    return {stats.update_ms,
            stalled_ms(stats) - stalled_ms(so_far),
            {after.read_bytes - before.read_bytes, after.write_bytes - before.write_bytes}};
  }

  // How long the moves of a step's update still took after it. Those of the last step may not have been looked at.
  std::vector<double> drains_ms() {
    constexpr int kSteps = 4;
    made_.engine.start_trace();
    for (int step = 0; step < kSteps; ++step) take_step();
    const StepTrace trace = made_.engine.stop_trace();
    std::vector<double> all;
    for (std::size_t step = 0; step + 1 < kSteps; ++step) all.push_back(drain_ms(trace.steps.at(step)));
    return all;
  }

  const Engine<models::GptImpl>& engine() const { return made_.engine; }

 private:
  static bench::Mix moved_bytes(const StepStats& stats) { return {stats.nvme_read_bytes, stats.nvme_write_bytes}; }

  static double stalled_ms(const StepStats& stats) { return stats.stall_fetch_ms + stats.stall_evict_ms; }

  static double drain_ms(const StepTrace::Step& step) {
    const std::int64_t end_ns = step.phases.back().span.end_ns;  // the update is the last
    std::int64_t last_ns = end_ns;
    for (const auto& move : step.moves) last_ns = std::max(last_ns, move.span.end_ns);
    return static_cast<double>(last_ns - end_ns) / 1e6;
  }

  // Longer than what is in flight takes.
  void await_quiet() const {
    if (has_drive_) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }

  const bool has_drive_;
  bench::Batches batches_;
  Initialized<models::GptImpl> made_;
};

// The kernel alone on as many arrays as the engine has chunks, of their size, all of them in blocks of their own.
class BareKernel {
 public:
  BareKernel(const Plan& plan, int threads) : pool_(threads), count_(plan.chunk_bytes / sizeof(float)) {
    for (std::uint64_t left = plan.num_parameters; left > 0; left -= std::min<std::uint64_t>(left, count_)) {
      auto& chunk = chunks_.emplace_back();
      for (auto& list : chunk.lists) list = device::PageBlock(plan.chunk_bytes);
      chunk.count = std::min<std::uint64_t>(left, count_);
    }
  }

  double ms() {
    hybrid_adam::HyperParameters hyper;
    hyper.weight_decay = 0.01;
    const auto constants = hybrid_adam::make_update_constants(hyper, 10, 1.0);
    const auto start = Clock::now();
    for (auto& chunk : chunks_)
      hybrid_adam::update_parallel(pool_, hybrid_adam::Algorithm::kAdamW, constants,
                                   {chunk.floats(0), chunk.floats(1), chunk.floats(2), chunk.floats(3), chunk.count});
    return ms_since(start);
  }

 private:
  struct Chunk {
    device::PageBlock lists[4];
    std::size_t count = 0;
    float* floats(int list) const { return reinterpret_cast<float*>(lists[list].data()); }
  };

  ThreadPool pool_;
  const std::size_t count_;
  std::vector<Chunk> chunks_;
};

// Figures of all rounds.
struct Rounds {
  std::vector<double> update_ms, stalled_ms, limit_ms;
  bench::Mix moved;     // of the last
  double drain_ms = 0;  // after each
};

// `limit` measures the limit of a phase and returns its ms. In odd rounds it goes first, by the bytes of the round
// before.
template <class Limit>
Rounds measure(const Setting& setting, Training& training, const Limit& limit) {
  Rounds rounds;
  Phase phase = training.take_step();
  for (int round = 0; round < setting.rounds; ++round) {
    const bool is_first = round % 2 == 1;
    const double before_ms = is_first ? limit(phase.moved) : 0;
    const bench::Mix foreseen = phase.moved;
    phase = training.take_step();
    const double scale =
        foreseen.sum() > 0 ? static_cast<double>(phase.moved.sum()) / static_cast<double>(foreseen.sum()) : 1;
    rounds.limit_ms.push_back(is_first ? before_ms * scale : limit(phase.moved));
    rounds.update_ms.push_back(phase.update_ms);
    rounds.stalled_ms.push_back(phase.stalled_ms);
    rounds.moved = phase.moved;
  }
  if (rounds.moved.sum() > 0) rounds.drain_ms = median(training.drains_ms());
  return rounds;
}

Json report(const Setting& setting, const Plan& plan, const Rounds& rounds) {
  const bool has_drive = !setting.nvme_path.empty();
  Json json{{"bench", "update"}, {"machine", bench::machine()}};
  json["configuration"] = {{"model", setting.training.json()},
                           {"state", has_drive ? "nvme" : "dram"},
                           {"threads", setting.threads},
                           {"chunk_bytes", plan.chunk_bytes},
                           {"rounds", setting.rounds}};
  json["limit"] = has_drive ? "fio, the same bytes" : "the bare kernel";
  json["update_ms"] = bench::distribution(rounds.update_ms);
  json["limit_ms"] = bench::distribution(rounds.limit_ms);
  std::vector<double> drained_ms = rounds.update_ms;
  for (double& ms : drained_ms) ms += rounds.drain_ms;
  json["ratio"] = bench::compared(drained_ms, rounds.limit_ms);
  if (!has_drive) return json;
  json["configuration"]["room"] = setting.room;
  json["configuration"]["block_bytes"] = setting.config().io.block_bytes;
  json["configuration"]["queue_depth"] = setting.config().io.queue_depth;
  json["stalled_ms"] = bench::distribution(rounds.stalled_ms);
  json["drain_ms"] = rounds.drain_ms;
  json["ratio_of_phase_alone"] = bench::compared(rounds.update_ms, rounds.limit_ms);
  json["nvme_read_bytes"] = rounds.moved.read_bytes;
  json["nvme_write_bytes"] = rounds.moved.write_bytes;
  json["state_bytes"] = plan.num_parameters * 12;  // parameters and two moments, each read and written
  return json;
}

Json run(const Setting& setting) {
  Training training(setting);
  const Plan plan = training.engine().plan();
  if (setting.nvme_path.empty()) {
    BareKernel kernel(plan, setting.threads);
    kernel.ms();  // warms up
    return report(setting, plan, measure(setting, training, [&](const bench::Mix&) { return kernel.ms(); }));
  }
  if (training.take_step().moved.sum() == 0) throw ConfigError("nothing moves in the update: give it a smaller --room");
  const IoConfig io = setting.config().io;
  const bench::FioRun fio(setting.nvme_path, plan.model_data_bytes, io.block_bytes, io.queue_depth);
  return report(setting, plan,
                measure(setting, training, [&](const bench::Mix& mix) { return fio.seconds(mix) * 1e3; }));
}

}  // namespace

int main(int argc, char** argv) try {
  Setting setting;
  CLI::App app("Times the optimizer's phase of a step against the bare kernel, or, on a drive, against fio");
  app.add_option("--nvme-path", setting.nvme_path, "folder on a drive for the state; unset: all is in DRAM");
  app.add_option("--room", setting.room, "DRAM beside the libraries, with a drive")->capture_default_str();
  app.add_option("--rounds", setting.rounds, "steps that count")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--threads", setting.threads, "of the update and torch; 0: one for each core");
  setting.training.declare(app);
  CLI11_PARSE(app, argc, argv);
  if (setting.threads == 0) setting.threads = ThreadPool::default_num_threads();
  if (!parse_bytes(setting.room)) throw ConfigError("--room " + setting.room + " is no size");
  torch::set_num_threads(setting.threads);
  std::cout << run(setting).dump(2) << "\n";
} catch (const std::exception& error) {
  std::cerr << "bench_update: " << error.what() << "\n";
  return 1;
}
