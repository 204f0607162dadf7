// Configurations on the fake card.
#pragma once

#include "base/byte_size.hpp"
#include "fake_torch_cuda.hpp"
#include "tests/runtime/budgets.hpp"

namespace asterias::test {

// What the runtime leaves to torch's libraries on a card (src/runtime/runtime.cpp): part of the limit.
inline constexpr std::uint64_t kCardLibraryBytes = 384 * kMiB;

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
