#include "tools/bench_io.hpp"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/median.hpp"
#include "runtime/nvme_probe.hpp"
#include "runtime/nvme_record.hpp"
#include "tools/bench_rounds.hpp"
#include "tools/flag_checks.hpp"
#include "tools/number_text.hpp"
#include "tools/standard_output.hpp"

namespace asterias::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kAsGood = 0.97;       // of the best rate: less is noise on most machines
constexpr double kAdamBytes = 2 * 12;  // per fp32 parameter: itself and two moments, read and written

std::uint64_t bytes_of(const BenchIoFlags& flags) {
  const std::uint64_t bytes = parse_bytes(flags.size).value_or(0);
  const std::uint64_t least = runtime::NvmeProbe::kLeastBytes * flags.folders.size();
  if (bytes < least)
    throw ConfigError("--size " + flags.size + ": " + format_bytes(least) +
                      " or more are needed, 8 MiB in each folder");
  return bytes;
}

// All combinations, checked as a configuration is.
std::vector<IoResult> settings_of(const BenchIoFlags& flags) {
  std::vector<IoResult> all;
  for (const auto& engine : flags.engines)
    for (const auto& block : flags.block_sizes)
      for (const auto& depth : flags.queue_depths) {
        EngineConfig config;
        config.set("io.engine=" + engine);
        config.set("io.block_size=" + block);
        config.set("io.queue_depth=" + depth);
        all.push_back({config.io, {}, {}, {}});
      }
  return all;
}

void measure(const BenchIoFlags& flags, std::uint64_t bytes, IoResult& result) {
  runtime::NvmeProbe probe(flags.folders, result.io, bytes);
  result.read.push_back(probe.rate(runtime::Traffic::kRead, flags.seconds));
  result.write.push_back(probe.rate(runtime::Traffic::kWrite, flags.seconds));
  result.update.push_back(probe.rate(runtime::Traffic::kUpdate, flags.seconds));
}

std::string engine_text(const IoResult& result) { return std::string(io_engine_name(result.io.engine)); }

std::string row_text(const IoResult& result) {
  const double update = median(result.update);
  return printf_text("%-9s %10s %6d %11.2f %11.2f %11.2f %14.0f\n", engine_text(result).c_str(),
                     format_bytes(result.io.block_bytes).c_str(), result.io.queue_depth, median(result.read) / 1e9,
                     median(result.write) / 1e9, update / 1e9, update / kAdamBytes / 1e6);
}

std::string table_text(const BenchIoFlags& flags, const std::vector<IoResult>& results) {
  std::string text =
      printf_text("%s on the drive, medians of %d rounds of %g s, GB/s; the mix reads and writes alike\n\n",
                  flags.size.c_str(), flags.rounds, flags.seconds);
  text += "engine    block size  depth        read       write         mix  Adam, Mparam/s\n";
  for (const auto& result : results) text += row_text(result);
  return text;
}

std::string advice_text(const IoResult& best) {
  return "\nrecommended: --set io.engine=" + engine_text(best) +
         " --set io.block_size=" + std::to_string(best.io.block_bytes) +
         " --set io.queue_depth=" + std::to_string(best.io.queue_depth) + "\n";
}

Json settings_json(const IoResult& result) {
  return {
      {"engine", engine_text(result)}, {"block_size", result.io.block_bytes}, {"queue_depth", result.io.queue_depth}};
}

Json all_json(const BenchIoFlags& flags, const std::vector<IoResult>& results, const std::string& record) {
  Json json{{"bench", "io"},          {"folders", flags.folders}, {"bytes", bytes_of(flags)},
            {"rounds", flags.rounds}, {"seconds", flags.seconds}, {"results", Json::array()}};
  for (const auto& result : results) {
    Json one = settings_json(result);
    one["read_bytes_per_second"] = median_and_best(result.read);
    one["write_bytes_per_second"] = median_and_best(result.write);
    one["update_bytes_per_second"] = median_and_best(result.update);
    json["results"].push_back(std::move(one));
  }
  json["recommended"] = settings_json(recommended(results));
  json["record"] = record;
  return json;
}

// Returns where the planner will find the rates.
std::string keep(const BenchIoFlags& flags, const std::vector<IoResult>& results) {
  std::vector<runtime::NvmeRates> rates;
  for (const auto& result : results)
    rates.push_back({result.io, median(result.read), median(result.write), median(result.update)});
  runtime::NvmeRecord record(flags.folders);
  const int error_number = record.keep(rates);
  if (error_number != 0) throw IoError(error_number, record.path(), 0, "writing");
  return record.path();
}

}  // namespace

void BenchIoFlags::declare(CLI::App& command) {
  command.add_option("--nvme-path", folders, "folder for swap files, on a drive; repeatable, striped over all")
      ->required()
      ->type_name("DIR");
  command.add_option("--size", size, "room to use on the drive, all folders together")
      ->check(byte_limit())
      ->type_name("SIZE")
      ->take_last()
      ->capture_default_str();
  add_list(command, "--block-sizes", block_sizes, "io.block_size to try");
  add_list(command, "--queue-depths", queue_depths, "io.queue_depth to try");
  add_list(command, "--engines", engines, "io.engine to try: auto, io_uring, threads");
  add_rounds(command, rounds);
  command.add_option("--seconds", seconds, "for each kind of traffic, setting and round")
      ->check(number_at_least_0())
      ->take_last()
      ->capture_default_str();
  command.add_flag("--json", json, "print JSON");
}

const IoResult& recommended(const std::vector<IoResult>& results) {
  double best = 0;
  for (const auto& result : results) best = std::max(best, median(result.update));
  const IoResult* least = nullptr;
  const auto in_flight = [](const IoResult& one) {
    return one.io.block_bytes * static_cast<std::uint64_t>(one.io.queue_depth);
  };
  for (const auto& result : results)
    if (median(result.update) >= kAsGood * best && (least == nullptr || in_flight(result) < in_flight(*least)))
      least = &result;
  return *least;
}

ExitCode run_bench_io(const BenchIoFlags& flags) {
  const std::uint64_t bytes = bytes_of(flags);
  std::vector<IoResult> results = settings_of(flags);
  for (int round = 0; round < flags.rounds; ++round)
    for (auto& result : results) measure(flags, bytes, result);
  const std::string record = keep(flags, results);
  if (flags.json) {
    print(all_json(flags, results, record).dump(2) + "\n");
  } else {
    print(table_text(flags, results) + advice_text(recommended(results)) + "kept for asterias plan in " + record +
          "\n");
  }
  return ExitCode::kDone;
}

}  // namespace asterias::tools
