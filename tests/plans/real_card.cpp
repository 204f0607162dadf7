#include "runtime/cuda_backend.hpp"
#include "tests/plans/card.hpp"

namespace asterias::plans {

bool card_runs(const Job&) { return true; }

void open_card(const Job&) { runtime::cuda_backend(); }

}  // namespace asterias::plans
