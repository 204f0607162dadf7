// Where activations may lie between their uses: what forward makes for backward, and what backward makes on its way.
//
// Only what a pass makes (Resident::is_of_pass): a batch, a buffer or a constructor's tensor moves as ever.
//
// Threading: constants.
#pragma once

#include <cstdint>

namespace asterias::evict {

enum class ActivationPlacement : std::uint8_t {
  kAuto,     // as all residents: they leave a full tier when the policy says so
  kKeep,     // they stay on the compute tier as long as they live, and count as needed there
  kOffload,  // they leave the compute tier, full or not, once no operator uses them soon; come back ahead of their use
};

}  // namespace asterias::evict
