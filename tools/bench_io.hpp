// `asterias bench io`: measures the drive under the swap folders over block sizes and queue depths, recommends
// settings, and keeps what it measured for `asterias plan` (runtime/nvme_record.hpp).
//
// Settings take turns within every round, so what else the machine does hits all alike. The update's mix (bytes read
// and written) decides: it is what most of a step's transfers are.
//
// Threading: the program's first thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/config.hpp"
#include "tools/exit_code.hpp"

namespace CLI {
class App;
}

namespace asterias::tools {

struct BenchIoFlags {
  std::vector<std::string> folders;
  std::string size = "256MiB";  // on the drive, all folders together
  std::vector<std::string> block_sizes{"256KiB", "1MiB", "4MiB"};
  std::vector<std::string> queue_depths{"4", "8", "16", "32"};
  std::vector<std::string> engines{"auto"};
  int rounds = 3;
  double seconds = 0.5;  // for each kind of traffic, setting and round
  bool json = false;

  void declare(CLI::App& command);
};

// What one setting gave, in bytes per second; reads and writes together in the mix. One figure per round.
struct IoResult {
  IoConfig io;
  std::vector<double> read, write, update;
};

// The setting with the best median of the mix, or, among those within 3 % of it, the one with the fewest bytes in
// flight. REQUIRES: not empty, a round at least.
const IoResult& recommended(const std::vector<IoResult>& results);

// Prints the table (or JSON) and writes the record. Throws ConfigError for settings and folders that cannot serve.
ExitCode run_bench_io(const BenchIoFlags& flags);

}  // namespace asterias::tools
