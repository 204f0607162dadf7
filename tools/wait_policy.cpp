#include "tools/wait_policy.hpp"

#include <cstdlib>
#include <unistd.h>

namespace asterias::tools {

void let_idle_threads_sleep(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  if (::setenv("OMP_WAIT_POLICY", "passive", /*replace=*/0) == 0) ::execv("/proc/self/exe", argv);
}

}  // namespace asterias::tools
