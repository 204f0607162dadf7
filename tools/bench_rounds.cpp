#include "tools/bench_rounds.hpp"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/median.hpp"
#include "tools/flag_checks.hpp"

namespace asterias::tools {

void add_rounds(CLI::App& command, int& rounds) {
  command.add_option("--rounds", rounds, "rounds, in which settings take turns; medians count")
      ->check(whole_number(1, 1000))
      ->type_name("N")
      ->take_last()
      ->capture_default_str();
}

void add_list(CLI::App& command, const char* name, std::vector<std::string>& values, const char* meaning) {
  std::string shown;
  for (const auto& value : values) shown += (shown.empty() ? "" : ",") + value;
  command.add_option(name, values, meaning)->delimiter(',')->type_name("LIST")->default_str(shown);
}

nlohmann::ordered_json median_and_best(const std::vector<double>& rates) {
  return {{"median", median(rates)}, {"best", *std::max_element(rates.begin(), rates.end())}};
}

double median_ratio(const std::vector<double>& values, const std::vector<double>& limits) {
  std::vector<double> ratios;
  for (std::size_t round = 0; round < values.size(); ++round) ratios.push_back(values[round] / limits[round]);
  return median(ratios);
}

}  // namespace asterias::tools
