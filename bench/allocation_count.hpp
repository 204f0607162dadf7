// Counts what the program and its libraries allocate by operator new, and keeps the stacks of some: linked into a
// program, it replaces that operator.
//
// malloc that is called directly is not seen; our code calls none but for blocks of tensors (chunk/tier_pool.hpp).
//
// Threading: the counter is thread-safe; a recording is of the calling thread.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/stacks.hpp"

namespace asterias::bench {

// Calls of operator new so far, of all threads.
std::uint64_t num_allocations();

// Keeps the stack of every allocation of this thread while it lives.
class AllocationStacks {
 public:
  // Room for `most` stacks; further ones are dropped. REQUIRES: no other one lives in this thread.
  explicit AllocationStacks(std::size_t most);
  AllocationStacks(const AllocationStacks&) = delete;
  AllocationStacks& operator=(const AllocationStacks&) = delete;
  ~AllocationStacks();

  // Ends the recording.
  const std::vector<Stack>& stop();

 private:
  std::vector<Stack> stacks_;
};

}  // namespace asterias::bench
