// Measures the CPU update against the memory: our kernels in every format, libtorch's fused AdamW on the same arrays,
// the sequence of passes that offload engines run (unscale, update, cast; by libtorch), and in-place read-modify-write
// of three arrays (RMW3), the most that an update could reach.
//
// Candidates take turns within every round, so what else the machine does hits all alike; the first round is dropped.
// A pause before each lets libtorch's OpenMP threads stop spinning, which they do for milliseconds after their work and
// on our cores. Only ratios inside a round mean something on a shared machine: medians over rounds of those are the
// result; beside them stand the ratio of the bests and percentiles. GB/s are by formula, bytes that must be read plus
// bytes that must be written: `bytes_per_param` says how many; the pass sequences count what one pass would need. Each
// kernel also runs on one thread over 8 Ki elements that stay in its cache, on each SIMD target: `in_cache_ns` a
// parameter is its arithmetic; where that, spread over the threads, is most of the time, arithmetic rules the row, else
// bytes. Arrays are on huge pages where madvise grants them, each shifted by --skew-bytes against the one before:
// without that, arrays of 2^k bytes meet in the same DRAM banks (update_kernel.hpp).
//
//   bench_adam [--elements 67108864] [--threads 0] [--rounds 9] [--skew-bytes 69632] [--cpu-time]    prints one JSON
//   object
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <ctime>
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

#include "base/median.hpp"
#include "base/thread_pool.hpp"
#include "bench/machine.hpp"
#include "bench/samples.hpp"
#include "hybrid_adam/array_casts.hpp"
#include "hybrid_adam/norm.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "runtime/memory_yardstick.hpp"

namespace {

using namespace asterias;
using namespace asterias::hybrid_adam;

// Arrays on huge pages, each at a multiple of 2 MiB plus its number times skew_bytes.
class SkewedArrays {
 public:
  explicit SkewedArrays(std::size_t skew_bytes) : skew_bytes_(skew_bytes / sizeof(float) * sizeof(float)) {}
  SkewedArrays(const SkewedArrays&) = delete;
  SkewedArrays& operator=(const SkewedArrays&) = delete;
  ~SkewedArrays() {
    for (const Mapping& mapping : mappings_) ::munmap(mapping.memory, mapping.bytes);
  }

  template <class T>
  T* make(std::size_t count) {
    const std::size_t bytes = count * sizeof(T) + mappings_.size() * skew_bytes_ + kHugePage;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    const std::size_t to_huge_page = (kHugePage - reinterpret_cast<std::uintptr_t>(memory) % kHugePage) % kHugePage;
    char* const begin = static_cast<char*>(memory) + to_huge_page + mappings_.size() * skew_bytes_;
    mappings_.push_back({memory, bytes});
    return reinterpret_cast<T*>(begin);
  }

 private:
  struct Mapping {
    void* memory;
    std::size_t bytes;
  };
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  std::size_t skew_bytes_;
  std::vector<Mapping> mappings_;
};

struct Candidate {
  std::string name;
  double bytes_per_param;
  std::function<void()> run;
  std::string three_passes = {};  // the candidate that does the same in passes
  UpdateArrays arrays = {};       // of our updates
  Algorithm algorithm = Algorithm::kAdamW;
  std::vector<double> seconds = {};  // one per kept round
};

// What the candidates work on: a parameter, its gradient in fp32 and bf16, and its moments in every codec.
struct Data {
  SkewedArrays memory;
  std::size_t count;
  float* param = memory.make<float>(count);
  float* grad = memory.make<float>(count);
  float* exp_avg = memory.make<float>(count);
  float* exp_avg_sq = memory.make<float>(count);
  Bfloat16* grad_bf16 = memory.make<Bfloat16>(count);
  Float16* grad_fp16 = memory.make<Float16>(count);
  Bfloat16* exp_avg_bf16 = memory.make<Bfloat16>(count);
  Bfloat16* exp_avg_sq_bf16 = memory.make<Bfloat16>(count);
  Block8 exp_avg_block8{memory.make<std::uint8_t>(count), memory.make<float>(count / 128 + 2)};
  Block8 exp_avg_sq_block8{memory.make<std::uint8_t>(count), memory.make<float>(count / 128 + 2)};

  Data(std::size_t elements, std::size_t skew_bytes) : memory(skew_bytes), count(elements) {}

  UpdateArrays arrays(ConstNumbers gradient, StateCodec codec, Numbers16 out = {}) const {
    UpdateArrays a{param, gradient, exp_avg, exp_avg_sq, count, out, 0, make_rounding_key(1, 1, 1)};
    if (codec == StateCodec::kBfloat16) a.exp_avg = exp_avg_bf16, a.exp_avg_sq = exp_avg_sq_bf16;
    if (codec == StateCodec::kBlock8) a.exp_avg = exp_avg_block8, a.exp_avg_sq = exp_avg_sq_block8;
    return a;
  }
};

void fill_block(const Data& d, std::size_t begin, std::size_t end) {
  for (std::size_t i = begin; i < end; ++i) {
    d.param[i] = std::sin(static_cast<float>(i % 9973));
    d.grad[i] = 1e-2f * std::cos(static_cast<float>(i % 7919));
    d.exp_avg[i] = 0.5f * d.grad[i];
    d.exp_avg_sq[i] = d.grad[i] * d.grad[i];
  }
  const std::size_t n = end - begin;
  cast(d.grad + begin, Numbers16(d.grad_bf16).from(begin), n);
  cast(d.grad + begin, Numbers16(d.grad_fp16).from(begin), n);
  for (const MomentArray& m : {MomentArray(d.exp_avg_bf16), MomentArray(d.exp_avg_block8)}) {
    encode_moments(Moment::kExpAvg, d.exp_avg + begin, m.from(begin), n, begin, {});
  }
  for (const MomentArray& v : {MomentArray(d.exp_avg_sq_bf16), MomentArray(d.exp_avg_sq_block8)}) {
    encode_moments(Moment::kExpAvgSq, d.exp_avg_sq + begin, v.from(begin), n, begin, {});
  }
}

void fill(ThreadPool& pool, const Data& d) {
  const auto fill_one = [&](std::size_t block) {
    const std::size_t begin = block * kUpdateBlockElements;
    fill_block(d, begin, std::min(d.count, begin + kUpdateBlockElements));
  };
  pool.parallel_for((d.count + kUpdateBlockElements - 1) / kUpdateBlockElements, std::cref(fill_one));
}

at::Tensor view(const Data& d, void* data, at::ScalarType type = at::kFloat) {
  return at::from_blob(data, {static_cast<std::int64_t>(d.count)}, type);
}

std::function<void()> torch_fused_adamw(const Data& d, const HyperParameters& h) {
  const std::vector<at::Tensor> p{view(d, d.param)}, g{view(d, d.grad)}, m{view(d, d.exp_avg)},
      v{view(d, d.exp_avg_sq)};
  const std::vector<at::Tensor> steps{at::full({}, 10.0, at::kFloat)};
  return [=] { at::_fused_adamw_(p, g, m, v, {}, steps, h.lr, h.beta1, h.beta2, h.weight_decay, h.eps, false, false); };
}

// fp32 gradients: unscale in place, update, cast.
std::function<void()> three_passes_fp32(const Data& d, const HyperParameters& h) {
  const at::Tensor grad = view(d, d.grad), param = view(d, d.param), out = view(d, d.grad_bf16, at::kBFloat16);
  return [=, update = torch_fused_adamw(d, h)] {
    grad.mul_(0.9999);
    update();
    out.copy_(param);
  };
}

// bf16 gradients: cast up (the unscaling is given for nothing), update, cast down.
std::function<void()> three_passes_bf16(const Data& d, const HyperParameters& h) {
  const at::Tensor grad = view(d, d.grad), param = view(d, d.param), half = view(d, d.grad_bf16, at::kBFloat16);
  return [=, update = torch_fused_adamw(d, h)] {
    grad.copy_(half);
    update();
    half.copy_(param);
  };
}

// Seconds that a candidate takes: of the clock on the wall, or of the process's CPU time spread over the threads, which
// leaves out what other processes take from us.
double seconds_of(const std::function<void()>& run, bool cpu_time, int threads) {
  const auto now = [&] {
    if (cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC / threads;
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  const double start = now();
  run();
  return now() - start;
}

// Takes a result, so that the compiler computes it.
void keep(double value) {
  volatile double kept = value;
  (void)kept;
}

// Nanoseconds a parameter on one thread with everything in the cache.
double in_cache_ns(const Candidate& c, SimdTarget target, const UpdateConstants& constants) {
  constexpr std::size_t kElements = 8192, kRepeats = 64;
  if (c.arrays.count < kElements) return 0.0;
  const UpdateArrays part = c.arrays.part(0, kElements);
  std::vector<double> seconds;
  for (int round = 0; round < 9; ++round) {
    const auto repeat = [&] {
      for (std::size_t k = 0; k < kRepeats; ++k) update_on(target, c.algorithm, constants, part);
    };
    seconds.push_back(seconds_of(repeat, true, 1));
  }
  return *std::min_element(seconds.begin(), seconds.end()) / (kElements * kRepeats) * 1e9;
}

// How much faster `c` was than `other`, by formula over `scale`: the distribution of the rounds' ratios.
bench::Json speed_over(const Candidate& c, const Candidate& other, double scale = 1) {
  std::vector<double> scaled = other.seconds;
  for (double& seconds : scaled) seconds *= scale;
  return bench::compared(scaled, c.seconds);
}

bench::Json report(const Candidate& c, const std::vector<Candidate>& all, double elements) {
  const Candidate &rmw = all[0], &torch = all[1], &plain = all[2];
  const double middle = median(c.seconds), best = *std::min_element(c.seconds.begin(), c.seconds.end());
  bench::Json row{
      {"name", c.name},
      {"bytes_per_param", c.bytes_per_param},
      {"seconds", bench::distribution(c.seconds)},
      {"mparam_per_s", {{"median", elements / middle / 1e6}, {"best", elements / best / 1e6}}},
      {"gb_per_s",
       {{"median", elements * c.bytes_per_param / middle / 1e9}, {"best", elements * c.bytes_per_param / best / 1e9}}},
      {"bandwidth_over_rmw3", speed_over(c, rmw, c.bytes_per_param / rmw.bytes_per_param)},
      {"speed_over_torch", speed_over(c, torch)},
      {"speed_over_adamw", speed_over(c, plain)}};
  for (const Candidate& other : all) {
    if (other.name == c.three_passes) row["speed_over_" + other.name] = speed_over(c, other);
  }
  return row;
}

std::vector<Candidate> candidates_of(ThreadPool& pool, const Data& d, const HyperParameters& hyper,
                                     const UpdateConstants& constants) {
  using enum StateCodec;
  const Numbers16 bf16(d.grad_bf16), fp16(d.grad_fp16);
  std::vector<Candidate> all{
      {"rmw3", runtime::kRewriteBytes,
       [&] {
         runtime::rewrite_in_place(pool, {d.param, d.exp_avg, d.exp_avg_sq}, d.count);
       }},
      {"torch_fused_adamw", 28, torch_fused_adamw(d, hyper)},
  };
  const auto add = [&](std::string name, Algorithm algorithm, const UpdateArrays& a, std::string three_passes = {}) {
    all.push_back({std::move(name), runtime::update_bytes_per_param(algorithm, a),
                   [&pool, &constants, a, algorithm] { update_parallel(pool, algorithm, constants, a); },
                   std::move(three_passes), a, algorithm});
  };
  const auto adamw = [&](std::string name, const UpdateArrays& a, std::string three_passes = {}) {
    add(std::move(name), Algorithm::kAdamW, a, std::move(three_passes));
  };
  adamw("adamw", d.arrays(d.grad, kFloat32));
  add("adam", Algorithm::kAdam, d.arrays(d.grad, kFloat32));
  adamw("adamw_fp32_to_bf16", d.arrays(d.grad, kFloat32, bf16), "three_passes_fp32");
  adamw("adamw_bf16_slot", d.arrays(d.grad_bf16, kFloat32, bf16), "three_passes_bf16");
  adamw("adamw_fp16_slot", d.arrays(d.grad_fp16, kFloat32, fp16), "three_passes_bf16");
  adamw("adamw_fp32_state_bf16", d.arrays(d.grad, kBfloat16));
  adamw("adamw_bf16_slot_state_bf16", d.arrays(d.grad_bf16, kBfloat16, bf16), "three_passes_bf16");
  adamw("adamw_fp32_state_8bit", d.arrays(d.grad, kBlock8));
  adamw("adamw_bf16_slot_state_8bit", d.arrays(d.grad_bf16, kBlock8, bf16), "three_passes_bf16");
  adamw("adamw_fp16_slot_state_8bit", d.arrays(d.grad_fp16, kBlock8, fp16), "three_passes_bf16");
  add("sgd_momentum", Algorithm::kSgd, d.arrays(d.grad, kFloat32));
  add("sgd_momentum_fp32_state_bf16", Algorithm::kSgd, d.arrays(d.grad, kBfloat16));
  add("sgd_momentum_fp32_state_8bit", Algorithm::kSgd, d.arrays(d.grad, kBlock8));
  add("sgd_momentum_bf16_slot", Algorithm::kSgd, d.arrays(d.grad_bf16, kFloat32, bf16));
  add("sgd_momentum_bf16_slot_state_bf16", Algorithm::kSgd, d.arrays(d.grad_bf16, kBfloat16, bf16));
  add("sgd_momentum_bf16_slot_state_8bit", Algorithm::kSgd, d.arrays(d.grad_bf16, kBlock8, bf16));
  all.push_back({"three_passes_fp32", 30, three_passes_fp32(d, hyper)});
  all.push_back({"three_passes_bf16", 28, three_passes_bf16(d, hyper)});
  all.push_back({"norm", 4, [&] { keep(sum_of_squares(pool, d.grad, d.count)); }});
  all.push_back({"norm_bf16", 2, [&] { keep(sum_of_squares(pool, d.grad_bf16, d.count)); }});
  all.push_back({"accumulate_bf16", 10, [&] { accumulate(pool, d.grad, d.grad_bf16, d.count); }});
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t elements = std::size_t{64} << 20;
  std::size_t skew_bytes = std::size_t{17} << 12;  // as page blocks (device/page_block.cpp)
  int threads = 0, rounds = 9;
  bool cpu_time = false;
  CLI::App app("Measures the CPU update against memory bandwidth and libtorch's fused AdamW; prints JSON.");
  app.add_option("--elements", elements, "parameters to update")->check(CLI::PositiveNumber);
  app.add_option("--threads", threads, "threads for every candidate; 0: one for each core")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--rounds", rounds, "rounds that count")->check(CLI::PositiveNumber);
  app.add_option("--skew-bytes", skew_bytes, "shift of each array against the one before, a multiple of 4");
  app.add_flag("--cpu-time", cpu_time, "measure CPU time over the threads, for machines that others keep busy");
  CLI11_PARSE(app, argc, argv);

  ThreadPool pool(threads);
  at::set_num_threads(pool.size());
  const Data data(elements, skew_bytes);
  fill(pool, data);

  HyperParameters hyper;
  hyper.lr = 1e-6;
  hyper.weight_decay = 0.01;
  hyper.momentum = 0.9;
  const UpdateConstants constants = make_update_constants(hyper, 10, 0.999);
  std::vector<Candidate> candidates = candidates_of(pool, data, hyper, constants);
  for (int round = -1; round < rounds; ++round) {
    for (Candidate& candidate : candidates) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const double seconds = seconds_of(candidate.run, cpu_time, pool.size());
      if (round >= 0) candidate.seconds.push_back(seconds);
    }
  }

  bench::Json out{{"bench", "adam"},
                  {"machine", bench::machine()},
                  {"elements", elements},
                  {"threads", pool.size()},
                  {"skew_bytes", skew_bytes},
                  {"rounds", rounds},
                  {"clock", cpu_time ? "cpu" : "wall"}};
  for (const Candidate& c : candidates) {
    bench::Json row = report(c, candidates, static_cast<double>(elements));
    if (c.arrays.count != 0) {
      for (SimdTarget target : available_targets()) {
        if (target != SimdTarget::kPortable)
          row["in_cache_ns"][target_name(target)] = in_cache_ns(c, target, constants);
      }
    }
    out["results"].push_back(row);
  }
  std::cout << out.dump(2) << "\n";
}
