// The pictures of a run step by step, from the columns of its StepTable.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <vector>

#include "tools/report/run_folder.hpp"

namespace asterias::tools::report {

// Milliseconds from one step's end to the next one's: wall_ms, or the sum of the phases in logs that lack it.
std::vector<double> step_ms(const StepTable& steps);

// As logged, or from the facts' tokens per step.
std::vector<double> tokens_per_second(const RunFolder& run);

std::string learning_section(const RunFolder& run);
std::string time_section(const RunFolder& run);
std::string memory_section(const RunFolder& run);
std::string traffic_section(const RunFolder& run);

}  // namespace asterias::tools::report
