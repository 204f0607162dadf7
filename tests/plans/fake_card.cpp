#include "base/byte_size.hpp"
#include "tests/cuda/fake_torch_cuda.hpp"
#include "tests/plans/card.hpp"

namespace asterias::plans {

// The fused kernels of an LSTM and a GRU are a card's own: there is none to run on the host.
bool card_runs(const Job& job) { return !job.model.is_recurrent; }

// A context and libraries that take their part of a limit, and streams that are slow where a link would be.
void open_card(const Job& job) {
  auto& card = test::fake_card();
  if (job.faults.copy_delay_us > 0) card.dawdle(static_cast<unsigned>(job.faults.copy_delay_us));
  test::install_fake_card();
  card.context_bytes = 450 * kMiB;
  card.most_real_bytes = 2 * kGiB;
}

}  // namespace asterias::plans
