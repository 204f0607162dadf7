// The instruction sets a kernel of this folder may run on, and which of them this machine has.
//
// Every target gives the same bits (adam_math.hpp, norm.hpp), so the choice is speed only; tests force each in turn.
// All but kPortable have a fused multiply-add in hardware: a target without one (SSE4) would be slower than the
// memory anyway and is left to kPortable, which calls std::fma.
//
// Threading: thread-safe.
#pragma once

#include <cstdint>
#include <vector>

namespace asterias::hybrid_adam {

enum class SimdTarget : std::uint8_t {
  kPortable,  // plain C++; on AArch64 compilers vectorise it, on x86 without FMA it is correct and slow
  kAvx2,      // AVX2 and FMA
  kAvx512,    // F, BW, DQ, VL
};

// Names a target for logs and benchmarks: "portable", "avx2", "avx512".
const char* target_name(SimdTarget target);

// Lists the targets compiled in that this CPU and operating system can run, slowest first; kPortable always leads.
std::vector<SimdTarget> available_targets();

// Picks the widest of available_targets(), once per process.
SimdTarget best_target();

}  // namespace asterias::hybrid_adam
