// How far Residency runs ahead.
//
// Threading: constants.
#pragma once

#include "evict/timeline.hpp"

namespace asterias::evict {

// Activations that one of so many foretold uses will need are not offloaded.
inline constexpr int kScannedUses = 64;
// So many uses are looked through for something to fetch beyond the first that is not to be had yet.
inline constexpr int kMostPassedOver = 1024;
// What is used within so many operators is not worth cleaning: it will be there, and may be written.
inline constexpr Moment kNearMoments = 16;
// For what is born within so many operators room is cleaned.
inline constexpr Moment kBirthMoments = 64;

}  // namespace asterias::evict
