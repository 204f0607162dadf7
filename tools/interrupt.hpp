// Ctrl-C and SIGTERM: the first asks the run to end after the step it is in, the second ends the program at once.
//
// The second one leaves the swap files to the next run, which deletes what dead runs have left.
//
// Threading: made and destroyed by the main thread; requested() is thread-safe.
#pragma once

#include <csignal>

namespace asterias::tools {

// Handles both signals while it lives. One at a time.
class InterruptHandler {
 public:
  InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;
  ~InterruptHandler();

  // Says whether a signal has come.
  static bool requested();

 private:
  struct sigaction interrupt_before_, terminate_before_;
};

}  // namespace asterias::tools
