// A script as if its chunks had another size, which the simulator then plays: what a recorded step tells of it without
// the model.
//
// Two neighbours that become one are used by whoever used either. A chunk that becomes two is used by halves together,
// since which tensors lie where is not written down: real halves would be used less often.
//
// Threading: none. Units: as in PassScript.
#pragma once

#include "evict/pass_script.hpp"

namespace asterias::evict {

// Chunks become one with the next, two by two, where both have the same lists and are updated on the same tier or not
// at all.
PassScript with_larger_chunks(const PassScript& script);

// Each chunk becomes two.
PassScript with_smaller_chunks(const PassScript& script);

}  // namespace asterias::evict
