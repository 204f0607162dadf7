// How far Residency runs ahead, for it and for the simulator (simulated_ahead.cpp).
//
// Threading: constants.
#pragma once

#include "evict/timeline.hpp"

namespace asterias::evict {

// How many foretold uses are looked through for something to fetch.
inline constexpr int kScannedUses = 64;
// What is used within so many operators is not worth cleaning: it will be there, and may be written.
inline constexpr Moment kNearMoments = 16;

}  // namespace asterias::evict
