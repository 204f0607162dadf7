// Trainings on a real card: test_gpu "[gpu]". Every case of the zoo has the bits of plain libtorch on the same card,
// with room for all and with everything evicted after each operator.
#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "runtime/cuda_backend.hpp"
#include "tests/runtime/budgets.hpp"
#include "tests/runtime/case_training.hpp"

namespace asterias::test {
namespace {

constexpr int kSteps = 4;

}  // namespace

CATCH_TEST_CASE("on a real card every case has the bits of plain libtorch", "[gpu]") {
  if (!runtime::has_card()) {
    CATCH_WARN("no card answers here: NOT RUN, tests/cuda runs it on one of host memory");
    return;
  }
  case_device = torch::Device(torch::kCUDA, 0);
  auto config = adamw_config();
  config.gradient_clipping = 0.5;
  for (const auto& test : zoo()) {
    CATCH_DYNAMIC_SECTION(test.name) {
      auto on_card = config;
      on_card.device = "cuda:0";
      on_card.tiers.gpu.limit.bytes = 3 * kGiB;
      on_card.tiers.nvme.paths = {swap_folder("card_swap")};
      on_card.debug.poison = true;
      const auto unlimited = train_engine(test, on_card, kSteps);
      const auto plain = train_plain(test, config, kSteps);
      CATCH_CHECK(difference(plain, unlimited.outcome) == "");
      on_card.debug.evict_always = true;
      CATCH_CHECK(difference(plain, train_engine(test, on_card, kSteps).outcome) == "");
      for (const auto& forced : {UpdateOnGpu::kAll, UpdateOnGpu::kEverySecond}) {
        on_card.debug.update_on_gpu = forced;
        CATCH_CHECK(difference(plain, train_engine(test, on_card, kSteps).outcome) == "");
      }
    }
  }
  case_device = torch::kCPU;
}

}  // namespace asterias::test
