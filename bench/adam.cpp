// Measures the CPU update against the memory: our kernels, libtorch's fused AdamW on the same arrays, and in-place
// read-modify-write of three of them (RMW3), the most that an update could reach.
//
// Candidates take turns within every round, so what else the machine does hits all alike; the first round is dropped.
// Only ratios inside a round mean something on a shared machine: medians over rounds of those are the result.
// GB/s are by formula, 4-byte reads plus 4-byte writes an element: rmw3 24, Adam and AdamW 28 (read p, g, m, v; write
// p, m, v), SGD with momentum 20, norm 4. Arrays are on huge pages where madvise grants them.
//
//   bench_adam [--elements 67108864] [--threads 0] [--rounds 9]     prints one JSON object
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <sys/mman.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/thread_pool.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"

namespace {

using namespace asterias;
using namespace asterias::hybrid_adam;

// One array of floats in its own mapping.
class FloatArray {
 public:
  explicit FloatArray(std::size_t count) : bytes_(count * sizeof(float)) {
    void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, bytes_, MADV_HUGEPAGE);
    data_ = static_cast<float*>(memory);
  }
  FloatArray(const FloatArray&) = delete;
  FloatArray& operator=(const FloatArray&) = delete;
  ~FloatArray() { ::munmap(data_, bytes_); }
  float* data() { return data_; }

 private:
  std::size_t bytes_;
  float* data_;
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

std::function<void()> torch_fused_adamw(const UpdateArrays& a, float* grad, const HyperParameters& h, std::uint64_t step) {
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
  return {{"name", c.name},
          {"bytes_per_param", c.bytes_per_param},
          {"mparam_per_s", {{"median", elements / middle / 1e6}, {"best", elements / best / 1e6}}},
          {"gb_per_s", {{"median", elements * c.bytes_per_param / middle / 1e9},
                        {"best", elements * c.bytes_per_param / best / 1e9}}},
          {"bandwidth_over_rmw3", median(to_rmw)},
          {"speed_over_torch", median(to_torch)}};
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t elements = std::size_t{64} << 20;
  int threads = 0, rounds = 9;
  CLI::App app("Measures the CPU update against memory bandwidth and libtorch's fused AdamW; prints JSON.");
  app.add_option("--elements", elements, "parameters to update")->check(CLI::PositiveNumber);
  app.add_option("--threads", threads, "threads for every candidate; 0: one for each core")->check(CLI::NonNegativeNumber);
  app.add_option("--rounds", rounds, "rounds that count")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  ThreadPool pool(threads);
  at::set_num_threads(pool.size());
  FloatArray param(elements), grad(elements), exp_avg(elements), exp_avg_sq(elements);
  const UpdateArrays a{param.data(), grad.data(), exp_avg.data(), exp_avg_sq.data(), elements};
  fill(pool, a, grad.data());

  HyperParameters hyper;
  hyper.lr = 1e-6;
  hyper.weight_decay = 0.01;
  hyper.momentum = 0.9;
  const UpdateConstants constants = make_update_constants(hyper, 10, 0.999);
  volatile float one = 1.0f;
  volatile double norm = 0.0;

  std::vector<Candidate> candidates{
      {"rmw3", 24, [&] { scale_three(pool, a, one); }, {}},
      {"torch_fused_adamw", 28, torch_fused_adamw(a, grad.data(), hyper, 10), {}},
      {"adamw", 28, [&] { update_parallel(pool, Algorithm::kAdamW, constants, a); }, {}},
      {"adam", 28, [&] { update_parallel(pool, Algorithm::kAdam, constants, a); }, {}},
      {"sgd_momentum", 20, [&] { update_parallel(pool, Algorithm::kSgd, constants, a); }, {}},
      {"norm", 4, [&] { norm = sum_of_squares(pool, grad.data(), elements); }, {}},
  };
  for (int round = -1; round < rounds; ++round) {
    for (Candidate& candidate : candidates) {
      const auto start = std::chrono::steady_clock::now();
      candidate.run();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (round >= 0) candidate.seconds.push_back(took.count());
    }
  }

  nlohmann::json out{{"bench", "adam"},
                     {"cpu", cpu_model()},
                     {"simd", target_name(best_target())},
                     {"elements", elements},
                     {"threads", pool.size()},
                     {"rounds", rounds},
                     {"grad_norm", std::sqrt(norm)}};
  for (const Candidate& c : candidates) {
    out["results"].push_back(report(c, candidates[0], candidates[1], static_cast<double>(elements)));
  }
  std::cout << out.dump(2) << "\n";
}
