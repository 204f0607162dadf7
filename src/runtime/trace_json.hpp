// Writes recorded steps as a Chrome trace (chrome://tracing, ui.perfetto.dev), with the memory and the residency of the
// same steps beside it.
//
// Called by RunLog; docs/logs.md describes the text.
//
// Threading: a pure function.
#pragma once

#include <span>
#include <string>

#include "evict/step_trace.hpp"

namespace asterias::runtime {

// Returns one whole JSON object. Times are in microseconds since the first step's start.
std::string trace_json(std::span<const evict::StepTrace> traces);

}  // namespace asterias::runtime
