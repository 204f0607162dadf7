// Measures what the drive under the swap folders gives while it reads and writes at once, as an update does it.
//
// Uses the engine's own block file, so O_DIRECT, block size and queue depth are those of the run. Writes the file once,
// then reads and rewrites it in turns; the file is gone afterwards.
//
// Invariants
//   * Never more than `bounds.bytes` on the drive, all folders together, and a few blocks of memory.
//   * Begins no round after `bounds.seconds`, so a slow drive costs a round more than that.
//
// Threading: the calling thread waits; transfers run on the block files' threads. Units: bytes, seconds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/block_file.hpp"
#include "runtime/config.hpp"

namespace asterias::runtime {

struct ProbeBounds {
  std::uint64_t bytes = 256ull << 20;  // on the drive
  double seconds = 2;
};

// Bytes per second, reads and writes together. 0 when `bounds.bytes` is too little for a block in each folder. Throws
// ConfigError and IoError as the run itself would.
double probe_nvme(const std::vector<std::string>& folders, const IoConfig& io, ProbeBounds bounds,
                  const std::shared_ptr<device::FileCalls>& calls = std::make_shared<device::FileCalls>());

}  // namespace asterias::runtime
