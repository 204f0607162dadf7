// Configurations on the fake card.
#pragma once

#include "base/byte_size.hpp"
#include "fake_torch_cuda.hpp"
#include "tests/runtime/budgets.hpp"
#include "tests/runtime/card_budget.hpp"

namespace asterias::test {

// On cuda:0 with `bytes`, multiples of 2 MiB, of the card for tensors.
inline EngineConfig on_card(EngineConfig config, std::uint64_t bytes = 32 * kMiB) {
  install_fake_card();
  config.device = "cuda:0";
  config.tiers.gpu.limit.bytes = kCardLibraryBytes + bytes;
  config.tiers.nvme.paths = {swap_folder("card_swap")};
  config.debug.poison = true;
  return config;
}

}  // namespace asterias::test
