// `asterias bench step`: how long a step of a training takes within its budgets, phase by phase, and how much of it is
// waiting for moves.
//
// Two steps warm up: what the first needs is learnt, the second is foretold by it like all later ones. Weights change
// and are thrown away; nothing is logged.
//
// Threading: the calling thread becomes the engine's thread for the duration.
#pragma once

#include "tools/exit_code.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

// Times `rounds` steps. Throws what a training throws.
ExitCode run_bench_step(const TrainOptions& options, int rounds);

}  // namespace asterias::tools
