// The loss scale alone, step by step in figures; precision_test.cpp compares whole trainings with DeepSpeed's rules.
#include "runtime/loss_scaler.hpp"

#include <sstream>
#include <string>

#include <catch2/catch.hpp>

namespace asterias::runtime {
namespace {

Fp16Config dynamic_from(int initial_scale_power) {
  Fp16Config config;
  config.enabled = true;
  config.initial_scale_power = initial_scale_power;
  config.hysteresis = 1;
  return config;
}

// "16 16 32": the scale after each of `steps`, of which 'x' overflows and '.' does not.
std::string scales(const Fp16Config& config, const std::string& steps) {
  LossScaler scaler(config);
  std::ostringstream text;
  for (const char step : steps) {
    scaler.count_step(step == 'x');
    text << (text.tellp() > 0 ? " " : "") << scaler.scale();
  }
  return text.str();
}

CATCH_TEST_CASE("the scale doubles at the step after a clean window, then once a window", "[unit]") {
  auto config = dynamic_from(4);
  config.loss_scale_window = 3;
  CATCH_CHECK(scales(config, "..........") == "16 16 16 32 32 32 64 64 64 128");
  CATCH_CHECK(scales(config, "..x.......") == "16 16 8 8 8 8 16 16 16 32");
  config.loss_scale_window = 1;
  CATCH_CHECK(scales(config, "....x...") == "16 32 64 128 64 64 128 256");
}

CATCH_TEST_CASE("a scale at or below the smallest is exhausted by the overflow that would halve it", "[unit]") {
  auto config = dynamic_from(2);
  config.hysteresis = 2;
  for (const double smallest : {4.0, 64.0}) {
    config.min_loss_scale = smallest;
    LossScaler scaler(config);
    CATCH_CHECK_FALSE(scaler.is_exhausted());
    scaler.count_step(/*overflowed=*/true);
    CATCH_CHECK(scaler.is_exhausted());
    CATCH_CHECK(scaler.scale() == 4);
  }
}

}  // namespace
}  // namespace asterias::runtime
