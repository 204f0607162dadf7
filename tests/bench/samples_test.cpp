// How benchmarks tell what they measured.
#include "bench/samples.hpp"

#include <catch2/catch.hpp>

namespace asterias::tests {
namespace {

CATCH_TEST_CASE("a percentile is a value that was measured, the nearest rank") {
  const std::vector<double> values{9, 1, 8, 2, 7, 3, 6, 4, 5, 10};
  CATCH_CHECK(bench::percentile(values, 0) == 1);
  CATCH_CHECK(bench::percentile(values, 0.1) == 1);
  CATCH_CHECK(bench::percentile(values, 0.11) == 2);
  CATCH_CHECK(bench::percentile(values, 0.9) == 9);
  CATCH_CHECK(bench::percentile(values, 1) == 10);
  CATCH_CHECK(bench::percentile({3}, 0.5) == 3);
}

CATCH_TEST_CASE("the best of times is the least") {
  const auto told = bench::distribution({4, 2, 8});
  CATCH_CHECK(told["best"] == 2);
  CATCH_CHECK(told["median"] == 4);
  CATCH_CHECK(told["p90"] == 8);
  CATCH_CHECK(told["count"] == 3);
}

CATCH_TEST_CASE("what took turns is compared round by round, but the best of one with the best of the other") {
  const auto told = bench::compared({4, 2, 9}, {2, 2, 3});
  CATCH_CHECK(told["median"] == 2);
  CATCH_CHECK(told["p10"] == 1);
  CATCH_CHECK(told["p90"] == 3);
  CATCH_CHECK(told["best"] == 1);
  CATCH_CHECK(bench::compared({5, 6, 7}, {4, 3, 2})["best"] == 2.5);
}

}  // namespace
}  // namespace asterias::tests
