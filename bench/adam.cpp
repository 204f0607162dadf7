// Measures the CPU update against the memory: our kernels, libtorch's fused AdamW on the same arrays, and in-place
// read-modify-write of three of them (RMW3), the most that an update could reach.
//
// Candidates take turns within every round, so what else the machine does hits all alike; the first round is dropped.
// A pause before each lets libtorch's OpenMP threads stop spinning, which they do for milliseconds after their work and
// on our cores. Only ratios inside a round mean something on a shared machine: medians over rounds of those are the
// result. GB/s are by formula, 4-byte reads plus 4-byte writes an element: rmw3 24, Adam and AdamW 28 (read p, g, m, v;
// write p, m, v), SGD with momentum 20, norm 4. Arrays are on huge pages where madvise grants them, each shifted by
// --skew-bytes against the one before: without that, arrays of 2^k bytes meet in the same DRAM banks
// (update_kernel.hpp).
//
//   bench_adam [--elements 67108864] [--threads 0] [--rounds 9] [--skew-bytes 65536]     prints one JSON object
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iostream>
#include <new>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/thread_pool.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"

namespace {

using namespace asterias;
using namespace asterias::hybrid_adam;

// Arrays of `count` floats in one mapping, array k starting at k * (count floats rounded up to 2 MiB + skew_bytes).
class FloatArrays {
 public:
  FloatArrays(std::size_t arrays, std::size_t count, std::size_t skew_bytes)
      : stride_bytes_((count * sizeof(float) + kHugePage - 1) / kHugePage * kHugePage + skew_bytes),
        bytes_(arrays * stride_bytes_ + kHugePage) {
    void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, bytes_, MADV_HUGEPAGE);
    memory_ = static_cast<char*>(memory);
  }
  FloatArrays(const FloatArrays&) = delete;
  FloatArrays& operator=(const FloatArrays&) = delete;
  ~FloatArrays() { ::munmap(memory_, bytes_); }

  float* operator[](std::size_t k) {
    const std::size_t to_huge_page = (kHugePage - reinterpret_cast<std::uintptr_t>(memory_) % kHugePage) % kHugePage;
    return reinterpret_cast<float*>(memory_ + to_huge_page + k * stride_bytes_);
  }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  std::size_t stride_bytes_, bytes_;
  char* memory_;
};

struct Candidate {
  std::string name;
  double bytes_per_param;
  std::function<void()> run;
  std::vector<double> seconds;  // one per kept round
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

[[gnu::noinline]] void scale(float* values, std::size_t count, float factor) {
  for (std::size_t i = 0; i < count; ++i) values[i] *= factor;
}

// Scales the three arrays in place, block by block as the update does.
void scale_three(ThreadPool& pool, const UpdateArrays& a, float factor) {
  const auto scale_block = [&](std::size_t block) {
    const std::size_t begin = block * kUpdateBlockElements;
    const std::size_t count = std::min(kUpdateBlockElements, a.count - begin);
    for (float* array : {a.param, a.exp_avg, a.exp_avg_sq}) scale(array + begin, count, factor);
  };
  pool.parallel_for((a.count + kUpdateBlockElements - 1) / kUpdateBlockElements, std::cref(scale_block));
}

void fill(ThreadPool& pool, const UpdateArrays& a, float* grad) {
  const auto fill_block = [&](std::size_t block) {
    const std::size_t begin = block * kUpdateBlockElements;
    for (std::size_t i = begin; i < std::min(a.count, begin + kUpdateBlockElements); ++i) {
      a.param[i] = std::sin(static_cast<float>(i % 9973));
      grad[i] = 1e-2f * std::cos(static_cast<float>(i % 7919));
      a.exp_avg[i] = 0.5f * grad[i];
      a.exp_avg_sq[i] = grad[i] * grad[i];
    }
  };
  pool.parallel_for((a.count + kUpdateBlockElements - 1) / kUpdateBlockElements, std::cref(fill_block));
}

std::function<void()> torch_fused_adamw(const UpdateArrays& a, float* grad, const HyperParameters& h,
                                        std::uint64_t step) {
  const auto view = [&](float* data) { return at::from_blob(data, {static_cast<std::int64_t>(a.count)}, at::kFloat); };
  const std::vector<at::Tensor> p{view(a.param)}, g{view(grad)}, m{view(a.exp_avg)}, v{view(a.exp_avg_sq)};
  const std::vector<at::Tensor> steps{at::full({}, static_cast<double>(step), at::kFloat)};
  return [=] { at::_fused_adamw_(p, g, m, v, {}, steps, h.lr, h.beta1, h.beta2, h.weight_decay, h.eps, false, false); };
}

nlohmann::json report(const Candidate& c, const Candidate& rmw, const Candidate& torch, double elements) {
  std::vector<double> to_rmw, to_torch;  // per round
  for (std::size_t r = 0; r < c.seconds.size(); ++r) {
    to_rmw.push_back(c.bytes_per_param / c.seconds[r] / (rmw.bytes_per_param / rmw.seconds[r]));
    to_torch.push_back(torch.seconds[r] / c.seconds[r]);
  }
  const double middle = median(c.seconds), best = *std::min_element(c.seconds.begin(), c.seconds.end());
  return {
      {"name", c.name},
      {"bytes_per_param", c.bytes_per_param},
      {"mparam_per_s", {{"median", elements / middle / 1e6}, {"best", elements / best / 1e6}}},
      {"gb_per_s",
       {{"median", elements * c.bytes_per_param / middle / 1e9}, {"best", elements * c.bytes_per_param / best / 1e9}}},
      {"bandwidth_over_rmw3", median(to_rmw)},
      {"speed_over_torch", median(to_torch)}};
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t elements = std::size_t{64} << 20;
  std::size_t skew_bytes = std::size_t{64} << 10;
  int threads = 0, rounds = 9;
  CLI::App app("Measures the CPU update against memory bandwidth and libtorch's fused AdamW; prints JSON.");
  app.add_option("--elements", elements, "parameters to update")->check(CLI::PositiveNumber);
  app.add_option("--threads", threads, "threads for every candidate; 0: one for each core")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--rounds", rounds, "rounds that count")->check(CLI::PositiveNumber);
  app.add_option("--skew-bytes", skew_bytes, "shift of each array against the one before, a multiple of 4");
  CLI11_PARSE(app, argc, argv);

  ThreadPool pool(threads);
  at::set_num_threads(pool.size());
  FloatArrays arrays(4, elements, skew_bytes / sizeof(float) * sizeof(float));
  float* const grad = arrays[1];
  const UpdateArrays a{arrays[0], grad, arrays[2], arrays[3], elements};
  fill(pool, a, grad);

  HyperParameters hyper;
  hyper.lr = 1e-6;
  hyper.weight_decay = 0.01;
  hyper.momentum = 0.9;
  const UpdateConstants constants = make_update_constants(hyper, 10, 0.999);
  volatile float one = 1.0f;
  volatile double norm = 0.0;

  std::vector<Candidate> candidates{
      {"rmw3", 24, [&] { scale_three(pool, a, one); }, {}},
      {"torch_fused_adamw", 28, torch_fused_adamw(a, grad, hyper, 10), {}},
      {"adamw", 28, [&] { update_parallel(pool, Algorithm::kAdamW, constants, a); }, {}},
      {"adam", 28, [&] { update_parallel(pool, Algorithm::kAdam, constants, a); }, {}},
      {"sgd_momentum", 20, [&] { update_parallel(pool, Algorithm::kSgd, constants, a); }, {}},
      {"norm", 4, [&] { norm = sum_of_squares(pool, grad, elements); }, {}},
  };
  for (int round = -1; round < rounds; ++round) {
    for (Candidate& candidate : candidates) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const auto start = std::chrono::steady_clock::now();
      candidate.run();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (round >= 0) candidate.seconds.push_back(took.count());
    }
  }

  nlohmann::json out{{"bench", "adam"},      {"cpu", cpu_model()},          {"simd", target_name(best_target())},
                     {"elements", elements}, {"threads", pool.size()},      {"skew_bytes", skew_bytes},
                     {"rounds", rounds},     {"grad_norm", std::sqrt(norm)}};
  for (const Candidate& c : candidates) {
    out["results"].push_back(report(c, candidates[0], candidates[1], static_cast<double>(elements)));
  }
  std::cout << out.dump(2) << "\n";
}
