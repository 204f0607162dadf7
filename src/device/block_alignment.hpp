// What O_DIRECT demands of offsets, sizes and addresses, checked where callers hand them in.
//
// Threading: pure functions. Units: bytes.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "device/block_file.hpp"

namespace asterias::device {

// Throws StateError unless `value` is a multiple of kBlockFileAlignment; `what` is "the offset" or its like.
inline void require_aligned(const char* what, std::uint64_t value) {
  if (value % kBlockFileAlignment != 0)
    throw StateError(StateError::Cause::kBug, std::string("a block file was given ") + what + " " +
                                                  std::to_string(value) + ", which is not a multiple of 4096");
}

}  // namespace asterias::device
