// The pictures of a traced step: its timeline, each tier over its moments, and where its chunks lay.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "tools/report/traced_step.hpp"

namespace asterias::tools::report {

std::string traced_section(const TracedStep& step);

}  // namespace asterias::tools::report
