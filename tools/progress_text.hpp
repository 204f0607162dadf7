// How far a run is, in one line: the live one of a terminal, or a row of a table per step.
//
// Threading: pure functions. Units: in the names; prints bytes as "1.37 GiB", times as ms or s.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/telemetry.hpp"
#include "tools/terminal.hpp"

namespace asterias::tools {

struct Progress {
  std::int64_t step = 0;  // the one being taken, or the last one when it has ended
  std::int64_t num_steps = 0;
  std::string_view phase;           // what it is doing: "forward"
  const StepStats* last = nullptr;  // the last step that has ended, if one has
  double tokens_per_second = 0;     // of that step
  double seconds_left = 0;
};

// Without an end of line; may be longer than the terminal is wide.
std::string live_text(const Progress& progress, const Terminal& terminal);

// A line of text each. The columns are those of the tiers that are there.
std::string column_heads(const StepStats& stats);
std::string step_row(const StepStats& stats, double tokens_per_second);

}  // namespace asterias::tools
