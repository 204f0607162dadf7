// The exit codes of the program, and what it says when it ends early.
//
// Threading: main thread only.
#pragma once

namespace asterias::tools {

enum class ExitCode : int {
  kDone = 0,
  kOther = 1,
  kUsage = 2,          // flags, configuration or data (ConfigError)
  kBudget = 3,         // a tier is too small (BudgetError, OutOfMemory)
  kIo = 4,             // a file or the standard output could not be read or written (IoError)
  kInterrupted = 130,  // by Ctrl-C or SIGTERM
};

// Writes the exception being handled to stderr as one message, without a C++ backtrace, and names its exit code.
// REQUIRES: called inside a catch block.
ExitCode report_current_exception();

}  // namespace asterias::tools
