#include "tools/report/lanes.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "tests/report/xml_check.hpp"

namespace asterias::tools::report {
namespace {

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

LaneChart chart_of(std::vector<Span> spans) {
  LaneChart chart;
  chart.label = "test";
  chart.to = 10;
  chart.lanes.push_back({"lane", std::move(spans), "all of it"});
  return chart;
}

CATCH_TEST_CASE("a span lies where its time is", "[report]") {
  const auto picture = lane_chart(chart_of({{2.5, 5, "h2d", "chunk 1"}}));
  CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
  CATCH_CHECK(
      holds(picture, "<rect x=\"267.5\" y=\"6\" width=\"247.5\" height=\"24\" class=\"fill-h2d\"><title>chunk 1<"));
}

CATCH_TEST_CASE("spans are cut to the picture, and broken ones are left out", "[report]") {
  const auto picture = lane_chart(chart_of(
      {{-5, 1, "h2d", "early"}, {9, INFINITY, "d2h", "late"}, {7, 6, "d2h", "reversed"}, {NAN, 3, "h2d", "none"}}));
  CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
  CATCH_CHECK(holds(picture, "x=\"20\" y=\"6\" width=\"99\" height=\"24\" class=\"fill-h2d\"><title>early<"));
  CATCH_CHECK(holds(picture, "x=\"911\" y=\"6\" width=\"99\" height=\"24\" class=\"fill-d2h\"><title>late<"));
  CATCH_CHECK_FALSE(holds(picture, "reversed"));
}

CATCH_TEST_CASE("neighbours too near to tell apart become one, wide ones do not", "[report]") {
  const auto tiny = merged({{0, 0.1, "a", "one"}, {0.2, 0.3, "a", "two"}, {0.5, 0.6, "a", "three"}}, 1);
  CATCH_REQUIRE(tiny.size() == 1);
  CATCH_CHECK(tiny[0].to == 0.6);
  CATCH_CHECK(tiny[0].what == "3 together: one\n… three");

  CATCH_CHECK(merged({{0, 0.1, "a", ""}, {0.2, 0.3, "b", ""}}, 1).size() == 2);  // colours stay apart
  CATCH_CHECK(merged({{0, 0.1, "a", ""}, {5, 5.1, "a", ""}}, 1).size() == 2);    // far away
  CATCH_CHECK(merged({{0, 5, "a", "x"}, {5, 9, "a", "y"}}, 1).size() == 2);      // wide
  CATCH_CHECK(merged({{0, 9, "a", "x"}, {1, 9.1, "a", "y"}}, 1).size() == 1);    // over each other
}

CATCH_TEST_CASE("a lane with very many spans stays small", "[report]") {
  std::vector<Span> spans;
  for (int i = 0; i < 1'000'000; ++i) spans.push_back({i * 1e-5, i * 1e-5 + 4e-6, i % 2 ? "h2d" : "d2h", "x"});
  CATCH_CHECK(lane_chart(chart_of(std::move(spans))).size() < 300'000);
}

CATCH_TEST_CASE("lanes of one name share it", "[report]") {
  LaneChart chart = chart_of({});
  chart.lanes = {{"grad", {}, ""}, {"param", {}, ""}, {"param", {}, ""}};
  const auto picture = lane_chart(chart);
  CATCH_CHECK(picture.find(">param<") == picture.rfind(">param<"));
  CATCH_CHECK(holds(picture, ">grad<"));
}

CATCH_TEST_CASE("a picture without time is none", "[report]") {
  LaneChart chart = chart_of({});
  chart.to = 0;
  CATCH_CHECK(lane_chart(chart).empty());
  chart.to = NAN;
  CATCH_CHECK(lane_chart(chart).empty());
}

}  // namespace
}  // namespace asterias::tools::report
