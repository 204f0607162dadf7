// What an update's speed is held against: the bytes that one pass must move, and a pass over as many arrays that does
// nothing else.
//
// Used by memory_probe.hpp and bench/adam.cpp; a training calls neither.
//
// Threading: thread-safe on disjoint arrays. Units: bytes, elements.
#pragma once

#include <array>
#include <cstddef>

#include "hybrid_adam/update_kernel.hpp"

namespace asterias::runtime {

// Bytes that one pass reads and writes for each parameter: by formula, not what a cache or a prefetcher adds.
double update_bytes_per_param(hybrid_adam::Algorithm algorithm, const hybrid_adam::UpdateArrays& arrays);

// Reads and writes back three fp32 arrays of `count`, block by block as the update does (RMW3): the most that an update
// can reach. kRewriteBytes for each element.
void rewrite_in_place(ThreadPool& pool, const std::array<float*, 3>& arrays, std::size_t count);
inline constexpr double kRewriteBytes = 24;

}  // namespace asterias::runtime
