// The card that plans for "cuda:N" compute on: a real one (real_card.cpp), or one of host memory (fake_card.cpp), as is
// linked.
//
// Threading: the main thread, before the first engine.
#pragma once

#include "tests/plans/random_plan.hpp"

namespace asterias::plans {

// Whether the card has kernels for the job's model.
bool card_runs(const Job& job);

// Readies the card for the job. Throws CudaError where there is none.
void open_card(const Job& job);

}  // namespace asterias::plans
