// The program `asterias`: picks the command, and turns what it throws into one message and an exit code.
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/nearest_word.hpp"
#include "tools/bench_adam.hpp"
#include "tools/bench_copy.hpp"
#include "tools/bench_io.hpp"
#include "tools/bench_rounds.hpp"
#include "tools/bench_step.hpp"
#include "tools/exit_code.hpp"
#include "tools/plan_command.hpp"
#include "tools/report_command.hpp"
#include "tools/standard_output.hpp"
#include "tools/train_command.hpp"
#include "tools/train_flags.hpp"
#include "tools/version_text.hpp"
#include "tools/wait_policy.hpp"

namespace {

using namespace asterias::tools;

constexpr const char* kFooter =
    "\nSizes read as people write them: 400MiB, 8GiB, 1.5GB.\n"
    "Exit codes: 0 done, 2 usage or configuration, 3 budget too small, 4 I/O, 130 interrupted, 1 other.";

constexpr const char* kTrainExamples =
    "\nExamples: a model with 1.6 GB of model data in 400 MiB of memory\n"
    "  asterias train --data data/genesis_to_ruth.txt --layers 14 --hidden 768 --heads 12 --seq 64 --batch 1 \\\n"
    "    --steps 20 --lr 3e-4 --cpu-limit 400MiB --nvme-path /mnt/scratch\n"
    "GPT-3's smallest, as GPT-3 was trained, in 1 GiB\n"
    "  asterias train --data text.txt --preset 125m --seq 1024 --batch 1 --accumulate 8 --tokens 100000000 \\\n"
    "    --lr 6e-4 --schedule cosine --min-lr 6e-5 --warmup 500 --betas 0.9,0.95 --val-every 500 --sample-every 500 "
    "\\\n"
    "    --cpu-limit 1GiB --nvme-path /mnt/scratch --log-dir logs";

// CLI11 parts groups by two empty lines; one is enough.
std::string single_spaced(std::string text) {
  for (std::size_t at; (at = text.find("\n\n\n")) != text.npos;) text.erase(at, 1);
  return text;
}

// The names without their dashes, which every flag has and none is told apart by.
std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const auto* option : command.get_options())
    for (const auto& name : option->get_lnames()) flags.push_back(name);
  return flags;
}

// Says what `word` is not, and what it may have been meant to be.
std::string unknown_text(const CLI::App& app, const std::string& word) {
  const std::string message = "'" + word + "' is no flag or subcommand here";
  if (!word.starts_with("--")) return message;
  const CLI::App* named = &app;
  while (!named->get_subcommands().empty()) named = named->get_subcommands().front();
  const auto nearest = asterias::nearest_word(word.substr(2, word.find('=') - 2), flags_of(*named));
  return nearest ? message + "; did you mean --" + *nearest + "?" : message;
}

// CLI11 gives each kind of wrong flag a code of its own; here they are all usage.
ExitCode report_parse(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_name() == "CallForHelp") {
    print(single_spaced(app.help()));
    return ExitCode::kDone;
  }
  if (error.get_name() == "CallForVersion") {
    print(version_text() + "\n");
    return ExitCode::kDone;
  }
  // What was not understood explains better what is missing than CLI11 does.
  const auto unknown = app.remaining(/*recurse=*/true);
  const std::string message = unknown.empty() ? error.what() : unknown_text(app, unknown.front());
  std::fprintf(stderr, "asterias: %s\nRun with --help for what there is.\n", message.c_str());
  return ExitCode::kUsage;
}

// One of the program's commands: its flags, and what runs when it was the one that was named.
struct Command {
  CLI::App* app;
  std::function<ExitCode()> run;
};

// The command line as a shell takes it again.
std::string command_text(char** argv) {
  std::string text;
  for (char** word = argv; *word != nullptr; ++word) {
    if (!text.empty()) text += ' ';
    const std::string plain = *word;
    const bool is_bare = !plain.empty() && plain.find_first_of(" \t\n\"'\\$`*?[]{}()<>|&;#~!") == std::string::npos;
    if (is_bare) {
      text += plain;
      continue;
    }
    text += '\'';
    for (const char c : plain) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    text += '\'';
  }
  return text;
}

Command declare_train(CLI::App& app, TrainFlags& flags, char** argv) {
  CLI::App* train = app.add_subcommand("train", "train a GPT or a Llama on the bytes of a file");
  flags.declare(*train, TrainFlags::Purpose::kTrain);
  train->footer(std::string(kTrainExamples) + "\n" + kFooter);
  return {train, [&flags, argv] {
            const TrainOptions options = flags.resolve();
            let_idle_threads_sleep(argv);
            return run_train(options, command_text(argv));
          }};
}

Command declare_plan(CLI::App& app, TrainFlags& flags, char** argv) {
  CLI::App* plan = app.add_subcommand("plan", "measure one pass and tell what a training will need and take");
  flags.declare(*plan, TrainFlags::Purpose::kPlan);
  plan->footer("\nTakes the flags of train that a plan can honour, changes no weight and writes no logs. " +
               std::string(kFooter).substr(1));
  return {plan, [&flags, argv] {
            const TrainOptions options = flags.resolve();
            let_idle_threads_sleep(argv);
            return run_plan(options);
          }};
}

Command declare_report(CLI::App& app, ReportFlags& flags) {
  CLI::App* report = app.add_subcommand("report", "make one HTML page of a run's logs");
  flags.declare(*report);
  return {report, [&flags] {
            run_report(flags);
            return ExitCode::kDone;
          }};
}

constexpr const char* kBenchIoExample =
    "\nExample: the drive's rates, kept for asterias plan\n"
    "  asterias bench io --nvme-path /mnt/scratch --size 1GiB --rounds 7\n";

struct BenchFlags {
  BenchIoFlags io;
  BenchAdamFlags adam;
  BenchCopyFlags copy;
  TrainFlags step;
  int step_rounds = 7;
};

Command declare_bench_step(CLI::App& bench, BenchFlags& flags, char** argv) {
  CLI::App* step = bench.add_subcommand("step", "time steps of a training within its budgets");
  flags.step.declare(*step, TrainFlags::Purpose::kBench);
  add_rounds(*step, flags.step_rounds);
  return {step, [&flags, argv] {
            const TrainOptions options = flags.step.resolve();
            let_idle_threads_sleep(argv);
            return run_bench_step(options, flags.step_rounds);
          }};
}

// The commands below `bench`.
std::vector<Command> declare_benches(CLI::App& app, BenchFlags& flags, char** argv) {
  CLI::App* bench = app.add_subcommand("bench", "measure what this machine gives, and recommend settings");
  bench->require_subcommand(1);
  CLI::App* io = bench->add_subcommand("io", "measure the drive over block sizes and queue depths");
  flags.io.declare(*io);
  CLI::App* adam = bench->add_subcommand("adam", "measure the optimizer's update over threads and formats of state");
  flags.adam.declare(*adam);
  CLI::App* copy = bench->add_subcommand("copy", "measure the simulated accelerator's copies");
  flags.copy.declare(*copy);
  const Command step = declare_bench_step(*bench, flags, argv);
  for (CLI::App* command : {bench, io, adam, copy, step.app}) command->footer(kFooter);
  io->footer(std::string(kBenchIoExample) + kFooter);
  return {{io, [&flags] { return run_bench_io(flags.io); }},
          {adam, [&flags] { return run_bench_adam(flags.adam); }},
          {copy, [&flags] { return run_bench_copy(flags.copy); }},
          step};
}

ExitCode run_named(const std::vector<Command>& commands) {
  for (const auto& command : commands)
    if (command.app->parsed()) return command.run();
  return ExitCode::kUsage;  // not reached: a subcommand is required
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // so that a write past `ulimit -f` fails instead of killing
  TrainFlags train_flags, plan_flags;
  ReportFlags report_flags;
  BenchFlags bench_flags;
  CLI::App app("Trains models that do not fit into memory, in budgets of your choice, with the same bits.", "asterias");
  app.set_version_flag("--version", version_text, "print versions, SIMD target and devices, and exit");
  app.require_subcommand(1);
  app.footer(kFooter);
  std::vector<Command> commands{declare_train(app, train_flags, argv), declare_plan(app, plan_flags, argv),
                                declare_report(app, report_flags)};
  for (auto& command : declare_benches(app, bench_flags, argv)) commands.push_back(std::move(command));

  try {
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return static_cast<int>(report_parse(app, error));
    }
    return static_cast<int>(run_named(commands));
  } catch (...) {
    return static_cast<int>(report_current_exception());
  }
}
