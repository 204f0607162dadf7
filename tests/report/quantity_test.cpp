#include "tools/report/quantity.hpp"

#include <cmath>
#include <limits>

#include <catch2/catch.hpp>

namespace asterias::tools::report {
namespace {

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> all;
  for (const auto& tick : ticks) all.push_back(tick.label);
  return all;
}

CATCH_TEST_CASE("quantities have three digits that matter and a unit", "[report]") {
  CATCH_CHECK(quantity_text(0, Unit::kBytes) == "0 B");
  CATCH_CHECK(quantity_text(256. * 1024 * 1024, Unit::kBytes) == "256 MiB");
  CATCH_CHECK(quantity_text(1.374 * 1024 * 1024 * 1024, Unit::kBytes) == "1.37 GiB");
  CATCH_CHECK(quantity_text(245.4, Unit::kMilliseconds) == "245 ms");
  CATCH_CHECK(quantity_text(1500, Unit::kMilliseconds) == "1.50 s");
  CATCH_CHECK(quantity_text(0.012, Unit::kMilliseconds) == "12.0 µs");
  CATCH_CHECK(quantity_text(1234567, Unit::kCount) == "1,234,567");
  CATCH_CHECK(quantity_text(-1234, Unit::kCount) == "-1,234");
  CATCH_CHECK(quantity_text(4.4633, Unit::kPlain) == "4.4633");
  CATCH_CHECK(quantity_text(12345, Unit::kPlain) == "12.3 k");
  CATCH_CHECK(quantity_text(NAN, Unit::kBytes) == "unknown");
  CATCH_CHECK(quantity_text(INFINITY, Unit::kPlain) == "unknown");
}

CATCH_TEST_CASE("ticks are round and cover the range", "[report]") {
  CATCH_CHECK(labels(nice_ticks(0, 9, Unit::kPlain, 5)) == std::vector<std::string>{"0", "2", "4", "6", "8", "10"});
  CATCH_CHECK(labels(nice_ticks(0, 230. * 1024 * 1024, Unit::kBytes, 5)) ==
              std::vector<std::string>{"0", "50 MiB", "100 MiB", "150 MiB", "200 MiB", "250 MiB"});
  CATCH_CHECK(labels(nice_ticks(0, 1200, Unit::kMilliseconds, 3)) ==
              std::vector<std::string>{"0", "0.5 s", "1.0 s", "1.5 s"});
  CATCH_CHECK(labels(nice_ticks(1, 3, Unit::kCount, 6)) == std::vector<std::string>{"1", "2", "3"});
  CATCH_CHECK(labels(nice_ticks(-1, 1, Unit::kPlain, 2)) == std::vector<std::string>{"-1", "0", "1"});
}

CATCH_TEST_CASE("ticks exist for every range, and are few", "[report]") {
  const double huge = std::numeric_limits<double>::max();
  const double bounds[][2] = {{0, 0},        {5, 5},          {3, 1},      {NAN, 1},          {0, INFINITY},
                              {-huge, huge}, {0, huge},       {0, 1e-300}, {1e17, 1e17 + 16}, {0, 1.8e19},
                              {-7, 1e12},    {0.1, 0.1000001}};
  for (const auto& bound : bounds)
    for (const Unit unit : {Unit::kPlain, Unit::kCount, Unit::kBytes, Unit::kMilliseconds}) {
      const auto ticks = nice_ticks(bound[0], bound[1], unit, 5);
      CATCH_CHECK(ticks.size() >= 2);
      CATCH_CHECK(ticks.size() <= 13);
      for (std::size_t i = 1; i < ticks.size(); ++i) CATCH_CHECK(ticks[i].value > ticks[i - 1].value);
      for (const auto& tick : ticks) CATCH_CHECK(tick.label.size() < 20);
    }
}

}  // namespace
}  // namespace asterias::tools::report
