#include "runtime/memory_probe.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/byte_size.hpp"
#include "base/thread_pool.hpp"
#include "device/page_block.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "runtime/precision.hpp"

namespace asterias::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;

hybrid_adam::Algorithm algorithm_of(OptimizerType type) {
  switch (type) {
    case OptimizerType::kAdam: return hybrid_adam::Algorithm::kAdam;
    case OptimizerType::kAdamW: return hybrid_adam::Algorithm::kAdamW;
    case OptimizerType::kSgd: break;
  }
  return hybrid_adam::Algorithm::kSgd;
}

// The median of some rounds, after one that warms up.
template <class Work>
double seconds_of(const Work& work) {
  double seconds[kRounds];
  work();
  for (double& one : seconds) {
    const auto start = Clock::now();
    work();
    one = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::sort(seconds, seconds + kRounds);
  return std::max(seconds[kRounds / 2], 1e-9);
}

}  // namespace

MemoryRates probe_memory(OptimizerType optimizer, StateDtype state, int num_threads, std::uint64_t scratch_bytes) {
  // Four arrays whose addresses differ modulo 2 MiB (update_kernel.hpp says why).
  constexpr std::uint64_t kSkewBytes = 64 * kKiB;
  const std::uint64_t array_bytes = std::max(scratch_bytes / 4, kMiB / 4) / 4096 * 4096;
  const device::PageBlock scratch(4 * (array_bytes + kSkewBytes));
  const auto array = [&](int i) {
    return reinterpret_cast<float*>(scratch.data() + static_cast<std::uint64_t>(i) * (array_bytes + kSkewBytes));
  };
  const std::size_t count = array_bytes / sizeof(float);
  for (int i = 0; i < 4; ++i) std::fill(array(i), array(i) + count, i < 2 ? 0.01F : 0.0F);

  ThreadPool pool(num_threads);
  const auto algorithm = algorithm_of(optimizer);
  const auto constants = hybrid_adam::make_update_constants({}, 1);
  const auto moments = [&](int i) { return hybrid_adam::moment_array(state_codec(state), array(i), count, 0); };
  const hybrid_adam::UpdateArrays arrays{array(0), array(1), moments(2), moments(3), count};
  const auto elements = static_cast<double>(count);
  volatile double kept = 0;  // so that the sum is not optimised away
  MemoryRates rates;
  rates.update_params_per_second =
      elements / seconds_of([&] { hybrid_adam::update_parallel(pool, algorithm, constants, arrays); });
  rates.norm_params_per_second =
      elements / seconds_of([&] { kept = hybrid_adam::sum_of_squares(pool, array(1), count); });
  rates.copy_bytes_per_second =
      static_cast<double>(array_bytes) / seconds_of([&] { std::memcpy(array(2), array(1), array_bytes); });
  return rates;
}

}  // namespace asterias::runtime
