// One pass over a GPT, the same on the plain side and the engine's (side_by_side.hpp): what the tests of activations,
// capacity, checkpoints and precision train on.
//
// Threading: as the run has it. Units: sequences, tokens.
#pragma once

#include "models/gpt.hpp"
#include "side_by_side.hpp"

namespace asterias::test {

// Forward and backward of `batch` sequences of `tokens` ids below `vocabulary`, drawn by `seed`; the loss is observed.
template <class Run>
void gpt_pass(Run& run, int seed, std::int64_t vocabulary, std::int64_t batch, std::int64_t tokens) {
  const auto ids =
      torch::randint(vocabulary, {batch, tokens + 1}, at::detail::createCPUGenerator(static_cast<std::uint64_t>(seed)));
  const auto loss = models::next_token_loss(run(ids.narrow(1, 0, tokens)), ids.narrow(1, 1, tokens));
  run.backward(loss);
  run.observe(loss.template item<double>());
}

}  // namespace asterias::test
