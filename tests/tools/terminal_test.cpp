// Columns of UTF-8 text with colours in it, and numbers as text.
#include "tools/terminal.hpp"

#include <catch2/catch.hpp>

#include "tools/number_text.hpp"

namespace asterias::tools {
namespace {

CATCH_TEST_CASE("columns are code points, and colours take none", "[unit]") {
  CATCH_CHECK(columns_of("") == 0);
  CATCH_CHECK(columns_of("abc") == 3);
  CATCH_CHECK(columns_of("█▓é") == 3);
  CATCH_CHECK(columns_of("\x1b[1;34mab\x1b[0m") == 2);
}

CATCH_TEST_CASE("text is cut between code points and its colours still end", "[unit]") {
  CATCH_CHECK(cut_to_columns("abc", 5) == "abc");
  CATCH_CHECK(cut_to_columns("abc", 2) == "ab");
  CATCH_CHECK(cut_to_columns("█▓é", 2) == "█▓");
  CATCH_CHECK(cut_to_columns("\x1b[1mabc\x1b[0m", 2) == "\x1b[1mab\x1b[0m");
  CATCH_CHECK(cut_to_columns("abc", 0).empty());
  CATCH_CHECK(cut_to_columns("abc", -1).empty());
}

CATCH_TEST_CASE("durations are said in two units", "[unit]") {
  CATCH_CHECK(duration_text(0) == "0 s");
  CATCH_CHECK(duration_text(7.2) == "8 s");
  CATCH_CHECK(duration_text(130) == "2 min 10 s");
  CATCH_CHECK(duration_text(3 * 3600 + 59) == "3 h 0 min");
  CATCH_CHECK(duration_text(49 * 3600.0) == "2 d 1 h");
}

CATCH_TEST_CASE("sizes, limits and counts read as people write them", "[unit]") {
  CATCH_CHECK(bytes_text(0) == "0 B");
  CATCH_CHECK(bytes_text(1023) == "1.00 KiB");
  CATCH_CHECK(bytes_text(13 << 20) == "13.0 MiB");
  CATCH_CHECK(limit_text(UINT64_MAX) == "no limit");
  CATCH_CHECK(limit_text(1500 << 20) == "1500 MiB");
  CATCH_CHECK(count_text(842496) == "842496");
  CATCH_CHECK(count_text(45'200'000) == "45.2 million");
  CATCH_CHECK(count_text(1'315'000'000) == "1.31 billion");
  CATCH_CHECK(ms_text(842) == "842 ms");
  CATCH_CHECK(ms_text(12'340) == "12.3 s");
}

}  // namespace
}  // namespace asterias::tools
