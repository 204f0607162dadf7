// `asterias plan`: measures a pass and tells where things will lie, the smallest budgets, and what a step will take.
//
// Two passes in fact, the second one foretold by the first, and no update: no weight changes.
//
// Threading: the program's first thread.
#pragma once

#include "tools/exit_code.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

// Prints the plan; kBudget when the given budgets do not suffice, with what would do. Throws ConfigError and IoError as
// the training would, and BudgetError when the model itself cannot be built.
ExitCode run_plan(const TrainOptions& options);

}  // namespace asterias::tools
