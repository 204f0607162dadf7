// Curves in a line of text.
#include "tools/sparkline.hpp"

#include <cmath>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias::tools {
namespace {

using Values = std::vector<double>;

CATCH_TEST_CASE("heights go from the least value to the largest", "[unit]") {
  CATCH_CHECK(sparkline(Values{0, 1, 2, 3, 4, 5, 6, 7}, true) == "▁▂▃▄▅▆▇█");
  CATCH_CHECK(sparkline(Values{7, 0}, false) == "#_");
}

CATCH_TEST_CASE("equal values are low, values that are none are gaps, nothing is nothing", "[unit]") {
  CATCH_CHECK(sparkline(Values{3, 3}, true) == "▁▁");
  CATCH_CHECK(sparkline(Values{0, std::nan(""), 7}, true) == "▁ █");
  CATCH_CHECK(sparkline(Values{}, true).empty());
}

CATCH_TEST_CASE("a curve keeps what it was given while there is room", "[unit]") {
  Curve curve;
  for (const double value : {4.0, 2.0, 1.0}) curve.add(value);
  CATCH_CHECK(curve.points() == Values{4, 2, 1});
}

CATCH_TEST_CASE("a long curve is means over equal runs and never longer than its bound", "[unit]") {
  Curve curve;
  for (int i = 0; i < 1000; ++i) {
    curve.add(i);
    CATCH_REQUIRE(curve.points().size() <= Curve::kMaxPoints);
  }
  const auto points = curve.points();
  CATCH_REQUIRE(points.size() == 63);   // runs of 16, the last one of 8
  CATCH_CHECK(points[0] == 7.5);        // 0 to 15
  CATCH_CHECK(points[1] == 23.5);       // 16 to 31
  CATCH_CHECK(points.back() == 995.5);  // 992 to 999
}

}  // namespace
}  // namespace asterias::tools
