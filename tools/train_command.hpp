// `asterias train`: a GPT or a Llama on a file's bytes, in the budgets given.
//
// Threading: the calling thread becomes the engine's thread for the duration.
#pragma once

#include <string>

#include "tools/exit_code.hpp"
#include "tools/train_options.hpp"

namespace asterias::tools {

// Trains, printing to stdout; the last line is the fingerprint. Ends early with kInterrupted after the step in which
// Ctrl-C or SIGTERM comes. Throws what the runtime throws, ConfigError about the data, Error when the loss is no number
// any more (that step has changed no weight). `command` is the command line, for the log.
ExitCode run_train(const TrainOptions& options, const std::string& command);

}  // namespace asterias::tools
