// The pictures of a run step by step, from the columns of its StepTable.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <vector>

#include "tools/report/run_folder.hpp"

namespace asterias::tools::report {

// Milliseconds that each step trained, without validations and samples: by its tokens and their rate, else the sum of
// the phases; wall_ms in logs that tell neither.
std::vector<double> training_ms(const RunFolder& run);

// As logged, or from the facts' tokens per step.
std::vector<double> tokens_per_second(const RunFolder& run);

// The numbers of the steps that an overflow in fp16 had skipped.
std::vector<double> skipped_steps(const RunFolder& run);

std::string learning_section(const RunFolder& run);
std::string time_section(const RunFolder& run);
std::string memory_section(const RunFolder& run);
std::string traffic_section(const RunFolder& run);

}  // namespace asterias::tools::report
