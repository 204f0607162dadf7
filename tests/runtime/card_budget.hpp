// What a limit on a card is made of besides tensors, for tests that set one to the byte.
#pragma once

#include <cstdint>

#include "base/byte_size.hpp"

namespace asterias::test {

// What the runtime leaves to torch's libraries (src/runtime/runtime.cpp), besides the context.
inline constexpr std::uint64_t kCardLibraryBytes = 384 * kMiB;
// What the rest is a multiple of (src/device/cuda_accelerator.cpp).
inline constexpr std::uint64_t kCardGranuleBytes = 2 * kMiB;

}  // namespace asterias::test
