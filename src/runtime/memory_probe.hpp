// Measures what this machine's memory and processor give to the optimizer update, to gradient norms and to copies, on a
// scratch that is larger than what caches keep, where the budget allows one.
//
// Threading: the calling thread and a pool of the run's size. Units: in the names.
#pragma once

#include <cstdint>

#include "runtime/config.hpp"

namespace asterias::runtime {

struct MemoryRates {
  double update_params_per_second;
  double norm_params_per_second;
  double copy_bytes_per_second;
};

// Uses `scratch_bytes` (a MiB or more) for some tenths of a second and gives them back. `num_threads` as in
// cpu.threads. The update is that of fp32 arrays, moments stored as `state` says.
MemoryRates probe_memory(OptimizerType optimizer, StateDtype state, int num_threads, std::uint64_t scratch_bytes);

}  // namespace asterias::runtime
