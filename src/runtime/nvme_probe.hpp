// Measures what the drive under the swap folders gives: reading, writing, and both at once, as an update does it.
//
// Uses the engine's own block files, so engine, O_DIRECT, block size and queue depth are those of the run. The files
// are written once when they are made, then read and rewritten; they are gone afterwards.
//
// Invariants
//   * Never more than `bytes` on the drive, all folders together, and 64 MiB or two blocks of memory.
//   * The queue stays full: twice its depth is asked for.
//
// Threading: the calling thread waits; transfers run on the block files' threads. Units: bytes, seconds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/block_file.hpp"
#include "device/page_block.hpp"
#include "runtime/config.hpp"

namespace asterias::runtime {

// kUpdate: block by block a read and a write, each in a stream of its own. The update reads the next chunk's lists
// while it writes the last one's, as many bytes one way as the other, whatever the optimizer.
enum class Traffic : std::uint8_t { kRead, kWrite, kUpdate };

class NvmeProbe {
 public:
  // Least bytes per folder: with less a rate would mean nothing.
  static constexpr std::uint64_t kLeastBytes = 8ull << 20;

  // Throws ConfigError and IoError as the run itself would. REQUIRES: a folder, and kLeastBytes for each.
  NvmeProbe(const std::vector<std::string>& folders, const IoConfig& io, std::uint64_t bytes,
            const std::shared_ptr<device::FileCalls>& calls = std::make_shared<device::FileCalls>());

  // Bytes per second, reads and writes together. Goes over each file at least once, and ends as soon as `seconds` are
  // over after that.
  double rate(Traffic traffic, double seconds);

 private:
  struct Transfer;  // the nth of a traffic

  Transfer nth(Traffic traffic, std::uint64_t n) const;
  device::Ticket start(const Transfer& transfer, std::byte* memory);
  std::uint64_t run(Traffic traffic, std::uint64_t least, double seconds);

  std::uint64_t block_bytes_;
  std::uint64_t blocks_per_file_;
  std::vector<std::unique_ptr<device::BlockFile>> files_;
  std::uint64_t num_places_;  // in flight and waiting, all files together
  device::PageBlock memory_;  // which they share where it is too small for all
};

struct ProbeBounds {
  std::uint64_t bytes = 256ull << 20;  // on the drive
  double seconds = 2;
};

// The rate of Traffic::kUpdate. 0 when there is no folder, or `bounds.bytes` is too little.
double probe_nvme(const std::vector<std::string>& folders, const IoConfig& io, ProbeBounds bounds,
                  const std::shared_ptr<device::FileCalls>& calls = std::make_shared<device::FileCalls>());

}  // namespace asterias::runtime
