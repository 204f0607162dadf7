// Measures what this machine's memory and processor give to the optimizer update, to gradient norms and to copies, on a
// scratch that is larger than what caches keep, where the budget allows one.
//
// `asterias plan` takes medians (probe_memory), `asterias bench adam` lets settings take turns on one MemoryProbe.
//
// Threading: the calling thread and the caller's pool. Units: in the names.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/page_block.hpp"
#include "runtime/config.hpp"

namespace asterias {
class ThreadPool;
}

namespace asterias::hybrid_adam {
struct UpdateArrays;
}

namespace asterias::runtime {

// Each call is one pass over the scratch, and returns its rate.
class MemoryProbe {
 public:
  // Maps `scratch_bytes` (a MiB or more).
  explicit MemoryProbe(std::uint64_t scratch_bytes);

  std::size_t num_params() const { return count_; }

  // An update of fp32 parameters by fp32 gradients, moments stored as `state` says. SGD is without momentum.
  double update_params_per_second(ThreadPool& pool, OptimizerType optimizer, StateDtype state);
  double update_bytes_per_param(OptimizerType optimizer, StateDtype state) const;

  double rewrite_bytes_per_second(ThreadPool& pool);  // memory_yardstick.hpp
  double norm_params_per_second(ThreadPool& pool);
  double copy_bytes_per_second();  // memcpy, bytes copied

 private:
  std::uint64_t array_bytes() const { return count_ * sizeof(float); }
  float* array(int i) const;
  hybrid_adam::UpdateArrays arrays(StateDtype state) const;
  void clear_moments_of_other(StateDtype state);

  std::size_t count_;
  device::PageBlock scratch_;  // parameters, gradients, two moments
  StateDtype state_ = StateDtype::kFp32;
};

struct MemoryRates {
  double update_params_per_second;
  double norm_params_per_second;
  double copy_bytes_per_second;
};

// Uses `scratch_bytes` (a MiB or more) for some tenths of a second and gives them back. `num_threads` as in
// cpu.threads.
MemoryRates probe_memory(OptimizerType optimizer, StateDtype state, int num_threads, std::uint64_t scratch_bytes);

}  // namespace asterias::runtime
