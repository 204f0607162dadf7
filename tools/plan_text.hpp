// What `asterias plan` says, as text and as JSON.
//
// Threading: pure functions.
#pragma once

#include <optional>
#include <string>

#include "runtime/telemetry.hpp"
#include "tools/step_estimate.hpp"
#include "tools/terminal.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

struct Foretold {
  Plan plan;
  // Unset when the budgets do not suffice.
  std::optional<StepCosts> costs;
  std::optional<StepEstimate> estimate;
  std::optional<Simulation> simulation;  // unset too where the passes are too long to be written down
  std::string refusal;                   // why the budgets do not suffice; empty: they do
  std::uint64_t fingerprint = 0;
};

std::string plan_text(const Foretold& foretold, const TrainOptions& options, const Terminal& terminal);

// One object on one line.
std::string plan_json(const Foretold& foretold, const TrainOptions& options);

}  // namespace asterias::tools
