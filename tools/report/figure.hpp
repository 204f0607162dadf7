// The HTML around a picture, and the sections that hold them.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "tools/report/chart.hpp"

namespace asterias::tools::report {

// A picture with its title, a sentence on how to read it, and the key to its colours. `picture` and `key` are markup,
// the rest is escaped here.
std::string figure(std::string_view title, std::string_view reading, const std::string& key, const std::string& picture,
                   bool wide = false);

// A figure of a chart, or a sentence that its data is missing when no series has a value.
enum class Drawing { kLines, kAreas, kBars };
std::string chart_figure(std::string_view title, std::string_view reading, const Chart& chart, Drawing drawing);

std::string missing_figure(std::string_view title, std::string_view what);
std::string section(std::string_view title, const std::string& content);

}  // namespace asterias::tools::report
