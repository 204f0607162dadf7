// What the kernel says of this process's memory and of the memory it may still take.
//
// Not an accountant: tier pools count what they hand out; this reads the truth that the count is corrected by.
//
// Units: bytes. Threading: thread-safe, stateless; each call reads /proc or the cgroup files (1 to 30 us).
#pragma once

#include <cstdint>

namespace asterias {

// Reads the resident set (VmRSS) from /proc/self/statm: about 1 us, may lag by a few hundred KiB.
std::uint64_t resident_set_bytes();

// Reads the peak resident set (VmHWM) from /proc/self/status; 0 when it cannot be read.
std::uint64_t peak_resident_set_bytes();

// Resets VmHWM to the present resident set by writing /proc/self/clear_refs. False when the kernel refuses.
bool reset_peak_resident_set();

// Reads the smallest memory limit of the cgroups (v1 and v2) this process is in, or the machine's memory where that is
// smaller.
std::uint64_t memory_limit_bytes();

// Reads how much this process could still take before the kernel must kill something: the smaller of MemAvailable and
// what the cgroups leave (reclaimable page cache counted as free).
std::uint64_t memory_available_bytes();

}  // namespace asterias
