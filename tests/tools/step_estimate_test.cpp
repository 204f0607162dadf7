#include "tools/step_estimate.hpp"

#include <catch2/catch.hpp>

namespace asterias::tools {
namespace {

// 1 s of forward and backward in two passes, 2 s of update, 3 s of the drive, 4 s of one link, 1 s of the other.
StepCosts costs() {
  StepCosts costs;
  costs.forward_ms = 200;
  costs.backward_ms = 300;
  costs.passes = 2;
  costs.num_parameters = 1'000'000;
  costs.update_params_per_second = 500'000;
  costs.nvme_read_bytes = 2'000;
  costs.nvme_write_bytes = 1'000;
  costs.nvme_bytes_per_second = 1'000;
  costs.h2d_bytes = 8'000;
  costs.d2h_bytes = 2'000;
  costs.h2d_bytes_per_second = costs.d2h_bytes_per_second = 2'000;
  return costs;
}

CATCH_TEST_CASE("what shares a resource is added, resources overlap", "[plan]") {
  const StepEstimate estimate = estimate_step(costs());
  CATCH_CHECK(estimate.resource_ms("processor") == 3000);
  CATCH_CHECK(estimate.resource_ms("drive") == 3000);
  CATCH_CHECK(estimate.resource_ms("link to the accelerator") == 4000);
  CATCH_CHECK(estimate.resource_ms("link from the accelerator") == 1000);
  CATCH_CHECK(estimate.slowest_resource() == "link to the accelerator");
  CATCH_CHECK(estimate.lower_ms() == 4000);
  CATCH_CHECK(estimate.upper_ms() == 11000);
}

CATCH_TEST_CASE("copies that are memcpy cost the processor", "[plan]") {
  StepCosts by_memcpy = costs();
  by_memcpy.link_is_processor = true;
  const StepEstimate estimate = estimate_step(by_memcpy);
  CATCH_CHECK(estimate.resource_ms("processor") == 8000);
  CATCH_CHECK(estimate.slowest_resource() == "processor");
  CATCH_CHECK(estimate.upper_ms() == 11000);
}

CATCH_TEST_CASE("what is not there takes no time and is no part", "[plan]") {
  StepCosts plain = costs();
  plain.nvme_bytes_per_second = 0;
  plain.h2d_bytes = plain.d2h_bytes = 0;
  const StepEstimate estimate = estimate_step(plain);
  CATCH_CHECK(estimate.parts.size() == 3);
  CATCH_CHECK(estimate.lower_ms() == 3000);
  CATCH_CHECK(estimate.upper_ms() == 3000);
  CATCH_CHECK(estimate_step({}).parts.empty());
  CATCH_CHECK(estimate_step({}).lower_ms() == 0);
  CATCH_CHECK(estimate_step({}).slowest_resource().empty());
}

CATCH_TEST_CASE("clipping reads every gradient once more", "[plan]") {
  StepCosts clipped = costs();
  clipped.norm_params_per_second = 2'000'000;
  CATCH_CHECK(estimate_step(clipped).resource_ms("processor") == 3500);
}

}  // namespace
}  // namespace asterias::tools
