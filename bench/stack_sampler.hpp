// Takes the stack of whichever thread is using the processor, a thousand times a second of processor time (SIGPROF).
//
// Time spent waiting is not seen. The kernel may tick less often than asked. Where the unwinder fails, the stack is the
// innermost frame alone; to survive that it takes over SIGSEGV while it runs.
//
// Threading: one at a time in a process, made and stopped by one thread.
#pragma once

#include <cstddef>
#include <vector>

#include "bench/stacks.hpp"

namespace asterias::bench {

class StackSampler {
 public:
  // Starts; keeps at most `most` stacks.
  explicit StackSampler(std::size_t most);
  StackSampler(const StackSampler&) = delete;
  StackSampler& operator=(const StackSampler&) = delete;
  ~StackSampler();

  // Ends the sampling and returns what was taken.
  std::vector<Stack> stop();
};

}  // namespace asterias::bench
