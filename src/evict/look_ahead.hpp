// How far Residency runs ahead.
//
// Threading: constants.
#pragma once

#include "evict/timeline.hpp"

namespace asterias::evict {

// Activations that one of so many foretold uses will need are not offloaded.
inline constexpr int kScannedUses = 64;
// What is used within so many operators is not worth cleaning: it will be there, and may be written.
inline constexpr Moment kNearMoments = 16;

}  // namespace asterias::evict
