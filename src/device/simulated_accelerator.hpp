// The simulated accelerator: memory of the host, a link of declared speed each way, and computing that is over when it
// is called. Every rule of an accelerator is tested on it without one.
//
// Threading: as Accelerator. Units: bytes, bytes per second.
#pragma once

#include <cstdint>
#include <memory>

#include "device/accelerator.hpp"

namespace asterias::device {

struct SimulatedOptions {
  std::uint64_t memory_bytes = 0;                                              // rounded up to a page
  std::uint64_t to_device_bytes_per_second = 0, to_host_bytes_per_second = 0;  // 0: as fast as memcpy
};

// Throws std::bad_alloc when the host has no room.
std::unique_ptr<Accelerator> make_simulated_accelerator(const SimulatedOptions& options);

}  // namespace asterias::device
