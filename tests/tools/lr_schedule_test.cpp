// The learning rate's factor, step by step.
#include "tools/lr_schedule.hpp"

#include <catch2/catch.hpp>

namespace asterias::tools {
namespace {

CATCH_TEST_CASE("a constant rate without warm-up is exactly the rate", "[unit]") {
  const LrSchedule schedule(LrDecay::kConstant, 0, 3, 0);
  for (const int step : {1, 2, 3}) CATCH_CHECK(schedule.factor(step) == 1);
}

CATCH_TEST_CASE("the warm-up rises in equal steps and its last one has the whole rate", "[unit]") {
  for (const auto decay : {LrDecay::kConstant, LrDecay::kLinear, LrDecay::kCosine}) {
    const LrSchedule schedule(decay, 4, 12, 0.1);
    CATCH_CHECK(schedule.factor(1) == 0.25);
    CATCH_CHECK(schedule.factor(2) == 0.5);
    CATCH_CHECK(schedule.factor(3) == 0.75);
    CATCH_CHECK(schedule.factor(4) == 1);
  }
}

CATCH_TEST_CASE("linear and cosine fall from the warm-up's end to the least rate at the last step", "[unit]") {
  const LrSchedule linear(LrDecay::kLinear, 2, 10, 0.5);
  CATCH_CHECK(linear.factor(6) == 0.75);
  CATCH_CHECK(linear.factor(10) == 0.5);
  const LrSchedule cosine(LrDecay::kCosine, 2, 10, 0.5);
  CATCH_CHECK(cosine.factor(6) == Approx(0.75));
  CATCH_CHECK(cosine.factor(10) == 0.5);
  CATCH_CHECK(cosine.factor(4) > linear.factor(4));
  CATCH_CHECK(cosine.factor(8) < linear.factor(8));
}

CATCH_TEST_CASE("a decay without warm-up begins to fall at once and may fall to zero", "[unit]") {
  const LrSchedule schedule(LrDecay::kLinear, 0, 4, 0);
  CATCH_CHECK(schedule.factor(1) == 0.75);
  CATCH_CHECK(schedule.factor(4) == 0);
}

CATCH_TEST_CASE("a warm-up as long as the run never decays", "[unit]") {
  const LrSchedule schedule(LrDecay::kCosine, 3, 3, 0);
  CATCH_CHECK(schedule.factor(3) == 1);
}

CATCH_TEST_CASE("decays are found by the names they give", "[unit]") {
  for (const auto decay : {LrDecay::kConstant, LrDecay::kLinear, LrDecay::kCosine})
    CATCH_CHECK(find_lr_decay(lr_decay_name(decay)) == decay);
  CATCH_CHECK_FALSE(find_lr_decay("cosin").has_value());
}

}  // namespace
}  // namespace asterias::tools
