// `asterias bench copy`: how fast the simulated accelerator's copies are here, one way and both ways, by the size of a
// copy, and how fast a link may be declared so that memcpy keeps up with it.
//
// Threading: the program's first thread.
#pragma once

#include <string>
#include <vector>

#include "tools/exit_code.hpp"

namespace CLI {
class App;
}

namespace asterias::tools {

struct BenchCopyFlags {
  std::string size = "512MiB";
  std::vector<std::string> copy_sizes{"256KiB", "4MiB", "64MiB"};
  int rounds = 7;
  bool json = false;

  void declare(CLI::App& command);
};

// Throws ConfigError when a size is none.
ExitCode run_bench_copy(const BenchCopyFlags& flags);

}  // namespace asterias::tools
