// `asterias train`: a GPT on a file's bytes, in the budgets given.
//
// Threading: the calling thread becomes the engine's thread for the duration.
#pragma once

#include "tools/exit_code.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

// Trains, printing to stdout; the last line is the fingerprint. Throws what the runtime throws, and ConfigError about
// the data.
ExitCode run_train(const TrainOptions& options);

}  // namespace asterias::tools
