// What a benchmark's figures hold for: the processor, its cores, the memory, the kernel, and the instruction set that
// our kernels take.
//
// Threading: pure functions but for what they read from /proc.
#pragma once

#include <nlohmann/json.hpp>

namespace asterias::bench {

// {"cpu", "cores", "memory_bytes", "kernel", "simd"}; cores are those of the affinity mask.
nlohmann::ordered_json machine();

}  // namespace asterias::bench
