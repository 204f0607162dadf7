// What the cgroups around this process, v1 and v2, leave it of memory.
//
// Not the machine's memory: process_memory.hpp joins both and is what the rest of the program asks.
//
// Units: bytes. Threading: thread-safe, stateless; one call reads about ten small files (10 to 30 us).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace asterias {

struct CgroupMemory {
  std::optional<std::uint64_t> limit_bytes;  // the smallest limit from this process's group up to the root; empty: none
  std::optional<std::uint64_t>
      available_bytes;  // the smallest of limit - usage + reclaimable page cache on the same way up
};

// Reads the groups named by /proc/self/cgroup below the mount points of /proc/self/mountinfo. `root` goes in front of
// every path that is opened (tests hand in a made-up tree). Never throws for a file that is missing or odd: such a
// group has no limit.
CgroupMemory read_cgroup_memory(const std::string& root = "");

}  // namespace asterias
