#include "bench/machine.hpp"

#include <fstream>
#include <string>
#include <sys/utsname.h>

#include "base/process_memory.hpp"
#include "base/thread_pool.hpp"
#include "hybrid_adam/simd_target.hpp"

namespace asterias::bench {
namespace {

std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

std::string kernel_release() {
  utsname names{};
  return uname(&names) == 0 ? names.release : "unknown";
}

}  // namespace

nlohmann::ordered_json machine() {
  return {{"cpu", cpu_model()},
          {"cores", ThreadPool::default_num_threads()},
          {"memory_bytes", memory_limit_bytes()},
          {"kernel", kernel_release()},
          {"simd", hybrid_adam::target_name(hybrid_adam::best_target())}};
}

}  // namespace asterias::bench
