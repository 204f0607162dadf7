#include "base/median.hpp"

#include <catch2/catch.hpp>

namespace asterias::tests {
namespace {

CATCH_TEST_CASE("the median of an even number is the mean of the middle two") {
  CATCH_CHECK(median({4, 1, 3, 100}) == 3.5);
  CATCH_CHECK(median({7, 1, 3}) == 3);
  CATCH_CHECK(median({7}) == 7);
}

}  // namespace
}  // namespace asterias::tests
