#include "tools/report/markup.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "tests/report/xml_check.hpp"

namespace asterias::tools::report {
namespace {

CATCH_TEST_CASE("text from files cannot become markup", "[report]") {
  CATCH_CHECK(escaped("<script>") == "&lt;script&gt;");
  CATCH_CHECK(escaped("a \"b\" & 'c'") == "a &quot;b&quot; &amp; &#39;c&#39;");
  CATCH_CHECK(escaped("µs \xF0\x9F\x98\x80") == "µs \xF0\x9F\x98\x80");
}

CATCH_TEST_CASE("what is no UTF-8 or no character of XML is replaced byte by byte", "[report]") {
  const std::string replaced = "\xEF\xBF\xBD";
  CATCH_CHECK(escaped(std::string("a\0b", 3)) == "a" + replaced + "b");
  CATCH_CHECK(escaped("\x1b[31m") == replaced + "[31m");
  CATCH_CHECK(escaped("\xC3") == replaced);                                               // cut off
  CATCH_CHECK(escaped("\xC0\xAF") == replaced + replaced);                                // overlong
  CATCH_CHECK(escaped("\xED\xA0\x80") == replaced + replaced + replaced);                 // a surrogate
  CATCH_CHECK(escaped("\xEF\xBF\xBF") == replaced + replaced + replaced);                 // U+FFFF
  CATCH_CHECK(escaped("\xF4\x90\x80\x80") == replaced + replaced + replaced + replaced);  // beyond U+10FFFF
}

CATCH_TEST_CASE("coordinates are short, and always numbers of SVG", "[report]") {
  CATCH_CHECK(coordinate(12) == "12");
  CATCH_CHECK(coordinate(1.006) == "1.01");
  CATCH_CHECK(coordinate(-0.001) == "0");
  CATCH_CHECK(coordinate(-2.5) == "-2.5");
  CATCH_CHECK(coordinate(NAN) == "0");
  CATCH_CHECK(coordinate(INFINITY) == "1000000");
  CATCH_CHECK(coordinate(-1e300) == "-1000000");
}

CATCH_TEST_CASE("a picture is well-formed whatever its words are", "[report]") {
  Svg svg(100, 50, "a \"label\" < &");
  svg.rect(0, 0, NAN, 1e300, "fill-param\" onload=\"alert(1)", "</title><script>");
  svg.text(1, 2, Svg::Anchor::kEnd, "]]>\x01");
  svg.path(PathData().move(0, 0).line(1, INFINITY).close(), "line");
  const std::string picture = std::move(svg).finish();
  CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
  CATCH_CHECK(picture.find("<script>") == std::string::npos);
  CATCH_CHECK(picture.find("onload=\"") == std::string::npos);
}

CATCH_TEST_CASE("the reader of XML that these tests use refuses what is broken", "[report]") {
  for (const char* broken : {"<a>", "<a></b>", "<a b=1/>", "<a b=\"<\"/>", "<a>&nbsp;</a>", "<a>\x01</a>", "<a/><b/>",
                             "<a b=\"1\" b=\"2\"/>", "<a>< b</a>", ""})
    CATCH_CHECK_FALSE(tests::XmlCheck::complaint(broken).empty());
  CATCH_CHECK(tests::XmlCheck::complaint("<!DOCTYPE html>\n<a b=\"&lt;\"><c/>x &amp; y</a>\n").empty());
}

}  // namespace
}  // namespace asterias::tools::report
