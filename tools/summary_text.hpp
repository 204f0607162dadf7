// What a run has been, as text: peaks, traffic, stalls, time and losses.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "tools/run_view.hpp"

namespace asterias::tools {

// Several lines, each ended; the fingerprint is not among them.
std::string summary_text(const RunEnd& end, const Terminal& terminal);

}  // namespace asterias::tools
