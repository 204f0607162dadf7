#include "tools/bench_adam.hpp"

#include <algorithm>
#include <climits>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/median.hpp"
#include "base/thread_pool.hpp"
#include "runtime/memory_probe.hpp"
#include "runtime/telemetry.hpp"
#include "tools/bench_rounds.hpp"
#include "tools/flag_checks.hpp"
#include "tools/number_text.hpp"
#include "tools/standard_output.hpp"

namespace asterias::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kAsGood = 0.97;  // of the best rate: less is noise on most machines

std::uint64_t bytes_of(const BenchAdamFlags& flags) {
  const std::uint64_t bytes = parse_bytes(flags.size).value_or(0);
  if (bytes < kMiB) throw ConfigError("--size " + flags.size + ": 1 MiB or more are needed");
  return bytes;
}

const char* state_name(StateDtype state) {
  switch (state) {
    case StateDtype::kFp32: return "fp32";
    case StateDtype::kBf16: return "bf16";
    case StateDtype::k8Bit: return "8bit";
  }
  return "?";
}

// All combinations, checked as a configuration is.
std::vector<AdamResult> settings_of(const BenchAdamFlags& flags) {
  std::vector<AdamResult> all;
  for (const auto& state : flags.states)
    for (const auto& threads : flags.threads) {
      EngineConfig config;
      config.set("cpu.threads=" + threads);
      config.set("optimizer.params.state_dtype=" + state);
      AdamResult one;
      one.threads = config.cpu.threads > 0 ? config.cpu.threads : ThreadPool::default_num_threads();
      one.state = *config.optimizer.params.state_dtype;
      all.push_back(std::move(one));
    }
  return all;
}

void measure(runtime::MemoryProbe& probe, AdamResult& result) {
  constexpr auto kAdamW = OptimizerType::kAdamW;
  ThreadPool pool(result.threads);
  result.bytes_per_param = probe.update_bytes_per_param(kAdamW, result.state);
  const double rewrite = probe.rewrite_bytes_per_second(pool);
  const double update = probe.update_params_per_second(pool, kAdamW, result.state);
  result.rewrite_bytes_per_second.push_back(rewrite);
  result.params_per_second.push_back(update);
  result.bytes_per_second.push_back(update * result.bytes_per_param);
}

// After a round that warms up.
std::vector<AdamResult> measure_all(const std::vector<AdamResult>& settings, int rounds, runtime::MemoryProbe& probe) {
  std::vector<AdamResult> results = settings;
  for (auto& result : results) measure(probe, result);
  results = settings;
  for (int round = 0; round < rounds; ++round)
    for (auto& result : results) measure(probe, result);
  return results;
}

double share(const AdamResult& result) {
  return median_ratio(result.bytes_per_second, result.rewrite_bytes_per_second);
}

std::string table_text(const BenchAdamFlags& flags, std::size_t num_params, const std::vector<AdamResult>& results) {
  std::string text = printf_text("AdamW on %s parameters, %s, medians of %d rounds\n\n", count_text(num_params).c_str(),
                                 update_simd_target().c_str(), flags.rounds);
  text += "state  threads  bytes/param   Mparam/s     GB/s  of reading and writing back\n";
  for (const auto& one : results)
    text +=
        printf_text("%-5s %8d %12.2f %10.0f %8.1f %27.0f %%\n", state_name(one.state), one.threads, one.bytes_per_param,
                    median(one.params_per_second) / 1e6, median(one.bytes_per_second) / 1e9, share(one) * 100);
  return text + "\nrecommended: --set cpu.threads=" + std::to_string(recommended_threads(results)) + "\n";
}

std::string json_text(const BenchAdamFlags& flags, std::size_t num_params, const std::vector<AdamResult>& results) {
  Json json{{"bench", "adam"},
            {"parameters", num_params},
            {"simd", update_simd_target()},
            {"rounds", flags.rounds},
            {"results", Json::array()}};
  for (const auto& one : results)
    json["results"].push_back({{"state_dtype", state_name(one.state)},
                               {"threads", one.threads},
                               {"bytes_per_param", one.bytes_per_param},
                               {"params_per_second", median_and_best(one.params_per_second)},
                               {"bytes_per_second", median_and_best(one.bytes_per_second)},
                               {"of_rewrite", share(one)}});
  json["recommended"] = {{"threads", recommended_threads(results)}};
  return json.dump(2) + "\n";
}

}  // namespace

std::vector<std::string> BenchAdamFlags::powers_of_two_to_cores() {
  const int cores = ThreadPool::default_num_threads();
  std::vector<std::string> numbers;
  for (int threads = 1; threads < cores; threads *= 2) numbers.push_back(std::to_string(threads));
  numbers.push_back(std::to_string(cores));
  return numbers;
}

void BenchAdamFlags::declare(CLI::App& command) {
  command.add_option("--size", size, "memory to use, for parameters, gradients and two moments in fp32")
      ->check(byte_limit())
      ->type_name("SIZE")
      ->take_last()
      ->capture_default_str();
  add_list(command, "--threads", threads, "cpu.threads to try; 0: one for each core");
  add_list(command, "--state-dtypes", states, "optimizer.params.state_dtype to try");
  add_rounds(command, rounds);
  command.add_flag("--json", json, "print JSON");
}

int recommended_threads(const std::vector<AdamResult>& results) {
  const auto rate = [&](const AdamResult& one) {
    return one.state == results.front().state ? median(one.params_per_second) : 0.0;
  };
  double best = 0;
  for (const auto& one : results) best = std::max(best, rate(one));
  int fewest = INT_MAX;
  for (const auto& one : results)
    if (rate(one) >= kAsGood * best) fewest = std::min(fewest, one.threads);
  return fewest;
}

ExitCode run_bench_adam(const BenchAdamFlags& flags) {
  const std::uint64_t bytes = bytes_of(flags);
  const std::vector<AdamResult> settings = settings_of(flags);
  runtime::MemoryProbe probe(bytes);
  const std::vector<AdamResult> results = measure_all(settings, flags.rounds, probe);
  print((flags.json ? json_text : table_text)(flags, probe.num_params(), results));
  return ExitCode::kDone;
}

}  // namespace asterias::tools
