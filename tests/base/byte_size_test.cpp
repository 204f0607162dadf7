#include "base/byte_size.hpp"

#include <limits>

#include <catch2/catch.hpp>

namespace asterias {
namespace {

constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max();

CATCH_TEST_CASE("sizes are read as people write them", "[base]") {
  CATCH_CHECK(parse_bytes("4096") == 4096);
  CATCH_CHECK(parse_bytes("0") == 0);
  CATCH_CHECK(parse_bytes("512 B") == 512);
  CATCH_CHECK(parse_bytes("8GiB") == 8 * kGiB);
  CATCH_CHECK(parse_bytes("512M") == 512 * kMiB);
  CATCH_CHECK(parse_bytes("1.5 GB") == 1'500'000'000);
  CATCH_CHECK(parse_bytes(" 0.5 kib ") == 512);
  CATCH_CHECK(parse_bytes("0.29 KB") == 290);  // not 289: 0.29 is no binary fraction
  CATCH_CHECK(parse_bytes("18446744073709551615") == kLargest);
}

CATCH_TEST_CASE("what is not a size is not read", "[base]") {
  for (const char* text : {"",
                           " ",
                           "-1",
                           "+1",
                           "GiB",
                           ".5 GiB",
                           "1.",
                           "1. GiB",
                           "1.5",
                           "1.5 B",
                           "1 GiB x",
                           "1 2",
                           "8 Gib it",
                           "1e9",
                           "0x10",
                           "nan",
                           "inf",
                           "18446744073709551616",
                           "16777216 TiB",
                           "17179869184 GiB"}) {
    CATCH_INFO(text);
    CATCH_CHECK_FALSE(parse_bytes(text).has_value());
  }
}

CATCH_TEST_CASE("sizes are written exactly where that is short", "[base]") {
  CATCH_CHECK(format_bytes(0) == "0 B");
  CATCH_CHECK(format_bytes(512) == "512 B");
  CATCH_CHECK(format_bytes(4097) == "4097 B");
  CATCH_CHECK(format_bytes(3 * kMiB) == "3 MiB");
  CATCH_CHECK(format_bytes(kGiB + kGiB / 2) == "1.5 GiB");
  CATCH_CHECK(format_bytes(kGiB + kGiB / 4) == "1.25 GiB");
  CATCH_CHECK(format_bytes(1403 * kMiB) == "1403 MiB");
  CATCH_CHECK(format_bytes(1403 * kMiB + 1) == "1.37 GiB");
  CATCH_CHECK(format_bytes(kLargest) == "16777216.00 TiB");
}

CATCH_TEST_CASE("a size of whole MiB survives being written and read", "[base]") {
  for (std::uint64_t mib = 1; mib < 5000; mib += 7) CATCH_REQUIRE(parse_bytes(format_bytes(mib * kMiB)) == mib * kMiB);
}

}  // namespace
}  // namespace asterias
