// What the commands of `asterias bench` have in common: rounds in which settings take turns, lists of settings, and how
// a figure of several rounds is told.
//
// Threading: pure functions. Units: whatever the caller's figures have.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace CLI {
class App;
}

namespace asterias::tools {

// Declares --rounds.
void add_rounds(CLI::App& command, int& rounds);

// Declares a flag that takes values separated by commas, and shows those that `values` has as its default.
void add_list(CLI::App& command, const char* name, std::vector<std::string>& values, const char* meaning);

// {"median": ..., "best": ...} of rates, of which the largest is the best. REQUIRES: not empty.
nlohmann::ordered_json median_and_best(const std::vector<double>& rates);

// The median of the rounds' ratios. REQUIRES: as many of both, at least one.
double median_ratio(const std::vector<double>& values, const std::vector<double>& limits);

}  // namespace asterias::tools
