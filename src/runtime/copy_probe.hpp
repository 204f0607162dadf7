// Measures how fast the simulated accelerator's copies are without a declared link: one way, and both ways at once.
//
// Uses the engine's own copy streams, so a copy is the memcpy of one thread per direction.
//
// Threading: the calling thread waits; copies run on the streams' threads. Units: bytes, seconds.
#pragma once

#include <cstdint>

#include "device/copy_stream.hpp"
#include "device/page_block.hpp"

namespace asterias::runtime {

class CopyProbe {
 public:
  // Maps `scratch_bytes` (a MiB or more), and copies a quarter of it each way and time.
  explicit CopyProbe(std::uint64_t scratch_bytes);

  // Bytes copied per second, both directions together, in copies of `piece_bytes` (at least 1).
  double one_way_rate(std::uint64_t piece_bytes);
  double both_ways_rate(std::uint64_t piece_bytes);

 private:
  device::Ticket copy_piece(int way, std::uint64_t at, std::uint64_t piece_bytes);
  double rate(int num_ways, std::uint64_t piece_bytes);

  std::uint64_t way_bytes_;
  device::PageBlock from_[2], to_[2];
  device::CopyStream streams_[2];
};

}  // namespace asterias::runtime
