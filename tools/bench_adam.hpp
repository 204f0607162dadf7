// `asterias bench adam`: how many parameters a second the optimizer's update does here, by the format of its state and
// the number of threads, and which share of the memory's speed that is.
//
// One probe for all settings, which take turns within every round; each update is held against a pass over as many
// arrays that only reads and writes back, just before it. bench_adam (bench/adam.cpp) has what a user cannot set:
// gradients and outputs in 16 bits, libtorch's kernels, SIMD targets.
//
// Threading: the program's first thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/config.hpp"
#include "tools/exit_code.hpp"

namespace CLI {
class App;
}

namespace asterias::tools {

struct BenchAdamFlags {
  std::string size = "1GiB";
  std::vector<std::string> threads = powers_of_two_to_cores();
  std::vector<std::string> states{"fp32", "bf16", "8bit"};
  int rounds = 7;
  bool json = false;

  void declare(CLI::App& command);

 private:
  static std::vector<std::string> powers_of_two_to_cores();
};

// What one setting gave: one figure per round.
struct AdamResult {
  int threads = 1;
  StateDtype state = StateDtype::kFp32;
  double bytes_per_param = 0;
  std::vector<double> params_per_second, bytes_per_second, rewrite_bytes_per_second;
};

// Of the results with the first one's format, the fewest threads within 3 % of the best median. REQUIRES: not empty, a
// round at least.
int recommended_threads(const std::vector<AdamResult>& results);

// Throws ConfigError when a setting is none.
ExitCode run_bench_adam(const BenchAdamFlags& flags);

}  // namespace asterias::tools
