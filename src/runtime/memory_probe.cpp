#include "runtime/memory_probe.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/byte_size.hpp"
#include "base/median.hpp"
#include "base/thread_pool.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "runtime/memory_yardstick.hpp"
#include "runtime/precision.hpp"

namespace asterias::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;
constexpr int kNumArrays = 4;
constexpr std::uint64_t kSkewBytes = 64 * kKiB;  // addresses differ modulo 2 MiB; update_kernel.hpp says why

std::size_t params_in(std::uint64_t scratch_bytes) {
  return std::max(scratch_bytes / kNumArrays, kMiB / kNumArrays) / device::kPageBytes * device::kPageBytes /
         sizeof(float);
}

hybrid_adam::Algorithm algorithm_of(OptimizerType type) {
  switch (type) {
    case OptimizerType::kAdam: return hybrid_adam::Algorithm::kAdam;
    case OptimizerType::kAdamW: return hybrid_adam::Algorithm::kAdamW;
    case OptimizerType::kSgd: break;
  }
  return hybrid_adam::Algorithm::kSgd;
}

template <class Work>
double seconds_of(const Work& work) {
  const auto start = Clock::now();
  work();
  return std::max(std::chrono::duration<double>(Clock::now() - start).count(), 1e-9);
}

// The median of some rounds, after one that warms up.
template <class Rate>
double median_rate(const Rate& rate) {
  rate();
  std::vector<double> rates;
  for (int round = 0; round < kRounds; ++round) rates.push_back(rate());
  return median(rates);
}

}  // namespace

MemoryProbe::MemoryProbe(std::uint64_t scratch_bytes)
    : count_(params_in(scratch_bytes)), scratch_(kNumArrays * (array_bytes() + kSkewBytes)) {
  for (const int i : {0, 1}) std::fill_n(array(i), count_, 0.01F);
}

float* MemoryProbe::array(int i) const {
  return reinterpret_cast<float*>(scratch_.data() + static_cast<std::uint64_t>(i) * (array_bytes() + kSkewBytes));
}

hybrid_adam::UpdateArrays MemoryProbe::arrays(StateDtype state) const {
  const auto moments = [&](int i) { return hybrid_adam::moment_array(state_codec(state), array(i), count_, 0); };
  return {array(0), array(1), moments(2), moments(3), count_};
}

// Moments in one format are no sensible numbers in another.
void MemoryProbe::clear_moments_of_other(StateDtype state) {
  if (state == state_) return;
  for (const int i : {2, 3}) std::memset(array(i), 0, array_bytes());
  state_ = state;
}

double MemoryProbe::update_params_per_second(ThreadPool& pool, OptimizerType optimizer, StateDtype state) {
  clear_moments_of_other(state);
  const auto constants = hybrid_adam::make_update_constants({}, 1);
  const auto pass = [&] { hybrid_adam::update_parallel(pool, algorithm_of(optimizer), constants, arrays(state)); };
  return static_cast<double>(count_) / seconds_of(pass);
}

double MemoryProbe::update_bytes_per_param(OptimizerType optimizer, StateDtype state) const {
  return runtime::update_bytes_per_param(algorithm_of(optimizer), arrays(state));
}

double MemoryProbe::rewrite_bytes_per_second(ThreadPool& pool) {
  return kRewriteBytes * static_cast<double>(count_) / seconds_of([&] {
           rewrite_in_place(pool, {array(0), array(2), array(3)}, count_);
         });
}

double MemoryProbe::norm_params_per_second(ThreadPool& pool) {
  volatile double kept = 0;  // so that the sum is not optimised away
  return static_cast<double>(count_) / seconds_of([&] { kept = hybrid_adam::sum_of_squares(pool, array(1), count_); });
}

double MemoryProbe::copy_bytes_per_second() {
  return static_cast<double>(array_bytes()) / seconds_of([&] { std::memcpy(array(0), array(1), array_bytes()); });
}

MemoryRates probe_memory(OptimizerType optimizer, StateDtype state, int num_threads, std::uint64_t scratch_bytes) {
  MemoryProbe probe(scratch_bytes);
  ThreadPool pool(num_threads);
  MemoryRates rates;
  rates.update_params_per_second = median_rate([&] { return probe.update_params_per_second(pool, optimizer, state); });
  rates.norm_params_per_second = median_rate([&] { return probe.norm_params_per_second(pool); });
  rates.copy_bytes_per_second = median_rate([&] { return probe.copy_bytes_per_second(); });
  return rates;
}

}  // namespace asterias::runtime
