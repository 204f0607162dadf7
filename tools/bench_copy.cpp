#include "tools/bench_copy.hpp"

#include <algorithm>
#include <cstdint>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/median.hpp"
#include "runtime/copy_probe.hpp"
#include "tools/bench_rounds.hpp"
#include "tools/flag_checks.hpp"
#include "tools/number_text.hpp"
#include "tools/standard_output.hpp"

namespace asterias::tools {
namespace {

using Json = nlohmann::ordered_json;

// A declared link that memcpy has to hurry for is no longer the link; its copies also take from the processor.
constexpr double kDeclarable = 0.2;  // of a direction's rate while both are busy

struct CopyResult {
  std::uint64_t copy_bytes;
  std::vector<double> one_way, both_ways;  // bytes per second, a figure per round
};

std::uint64_t size_of(const char* flag, const std::string& text, std::uint64_t least) {
  const std::uint64_t bytes = parse_bytes(text).value_or(0);
  if (bytes < least)
    throw ConfigError(std::string(flag) + " " + text + ": not a size of " + format_bytes(least) + " or more");
  return bytes;
}

std::vector<CopyResult> settings_of(const BenchCopyFlags& flags) {
  std::vector<CopyResult> all;
  for (const auto& size : flags.copy_sizes) all.push_back({size_of("--copy-sizes", size, 4 * kKiB), {}, {}});
  return all;
}

void measure(runtime::CopyProbe& probe, CopyResult& result) {
  result.one_way.push_back(probe.one_way_rate(result.copy_bytes));
  result.both_ways.push_back(probe.both_ways_rate(result.copy_bytes));
}

// Bytes per second of one direction.
double declarable(const std::vector<CopyResult>& results) {
  double best = 0;
  for (const auto& one : results) best = std::max(best, median(one.both_ways));
  return kDeclarable * best / 2;
}

std::string table_text(const BenchCopyFlags& flags, const std::vector<CopyResult>& results) {
  std::string text = printf_text("copies by one thread a direction, medians of %d rounds, GB/s\n\n", flags.rounds);
  text += "copy size     one way   both ways\n";
  for (const auto& one : results)
    text += printf_text("%-10s %10.2f %11.2f\n", format_bytes(one.copy_bytes).c_str(), median(one.one_way) / 1e9,
                        median(one.both_ways) / 1e9);
  const double link = declarable(results) / 1e9;
  return text + printf_text(
                    "\na simulated link is kept to up to about --set tiers.gpu.link.h2d=%.1fGB/s"
                    " --set tiers.gpu.link.d2h=%.1fGB/s\n",
                    link, link);
}

std::string json_text(const BenchCopyFlags& flags, const std::vector<CopyResult>& results) {
  Json json{{"bench", "copy"}, {"rounds", flags.rounds}, {"results", Json::array()}};
  for (const auto& one : results)
    json["results"].push_back({{"copy_size", one.copy_bytes},
                               {"one_way_bytes_per_second", median_and_best(one.one_way)},
                               {"both_ways_bytes_per_second", median_and_best(one.both_ways)}});
  json["declarable_link_bytes_per_second"] = declarable(results);
  return json.dump(2) + "\n";
}

}  // namespace

void BenchCopyFlags::declare(CLI::App& command) {
  command.add_option("--size", size, "memory to use; a quarter is copied each way and time")
      ->check(byte_limit())
      ->type_name("SIZE")
      ->take_last()
      ->capture_default_str();
  add_list(command, "--copy-sizes", copy_sizes, "bytes of a copy to try");
  add_rounds(command, rounds);
  command.add_flag("--json", json, "print JSON");
}

ExitCode run_bench_copy(const BenchCopyFlags& flags) {
  std::vector<CopyResult> results = settings_of(flags);
  runtime::CopyProbe probe(size_of("--size", flags.size, kMiB));
  probe.both_ways_rate(kMiB);  // warms up
  for (int round = 0; round < flags.rounds; ++round)
    for (auto& result : results) measure(probe, result);
  print((flags.json ? json_text : table_text)(flags, results));
  return ExitCode::kDone;
}

}  // namespace asterias::tools
