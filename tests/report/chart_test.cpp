// Known data lands at known places.
#include "tools/report/chart.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <catch2/catch.hpp>

#include "tests/report/xml_check.hpp"
#include "tools/report/plot_frame.hpp"
#include "tools/report/sampling.hpp"

namespace asterias::tools::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Chart chart_of(std::vector<Series> series, std::vector<double> x) {
  Chart chart;
  chart.label = "test";
  chart.x_name = "step";
  chart.x = std::move(x);
  chart.series = std::move(series);
  return chart;
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Where values lie in a picture whose y axis goes from 0 to `top`.
std::string at(double share_of_width, double value, double top) {
  const double width = PlotFrame::kWidth - PlotFrame::kLeft - PlotFrame::kRight;
  const double height = PlotFrame::kHeight - PlotFrame::kTop - PlotFrame::kBottom;
  return coordinate(PlotFrame::kLeft + share_of_width * width) + " " +
         coordinate(PlotFrame::kTop + (1 - value / top) * height);
}

CATCH_TEST_CASE("a line goes through its values", "[report]") {
  const auto picture = line_chart(chart_of({{"loss", "ink", {2, 4, 10}}}, {1, 2, 3}));
  CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
  CATCH_CHECK(holds(picture, "d=\"M" + at(0, 2, 10) + "L" + at(0.5, 4, 10) + "L" + at(1, 10, 10) + "\""));
  CATCH_CHECK(holds(picture, "<title>step 2, loss: 4.0000</title>"));
}

CATCH_TEST_CASE("a missing value breaks a line, and one with marks goes on", "[report]") {
  Chart chart = chart_of({{"loss", "ink", {10, kNaN, 10, 5}}}, {1, 2, 3, 4});
  CATCH_CHECK(holds(line_chart(chart), "M" + at(0, 10, 10) + "M" + at(2 / 3., 10, 10)));
  chart.series[0].marks = true;
  CATCH_CHECK(holds(line_chart(chart), "M" + at(0, 10, 10) + "L" + at(2 / 3., 10, 10)));
}

CATCH_TEST_CASE("areas lie on each other", "[report]") {
  const auto picture = area_chart(chart_of({{"a", "param", {2, 2}}, {"b", "grad", {4, 8}}}, {0, 10}));
  CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
  CATCH_CHECK(holds(picture, "M" + at(0, 2, 10) + "L" + at(1, 2, 10) + "L" + at(1, 0, 10) + "L" + at(0, 0, 10) +
                                 "Z\" class=\"area fill-param\""));
  CATCH_CHECK(holds(picture, "M" + at(0, 6, 10) + "L" + at(1, 10, 10) + "L" + at(1, 2, 10) + "L" + at(0, 2, 10) +
                                 "Z\" class=\"area fill-grad\""));
  CATCH_CHECK(holds(picture, "step 10: 10.0\nb 8.0000\na 2.0000"));
}

CATCH_TEST_CASE("bars stand on each other, and what is missing or negative is no bar", "[report]") {
  const auto picture =
      bar_chart(chart_of({{"a", "forward", {5, kNaN, -3, 5}}, {"b", "stall", {5, 5, 5, INFINITY}}}, {1, 2, 3, 4}));
  CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
  const double slot = (PlotFrame::kWidth - PlotFrame::kLeft - PlotFrame::kRight) / 4, width = 60;
  const double height = PlotFrame::kHeight - PlotFrame::kTop - PlotFrame::kBottom;
  const auto box = [&](int i, double floor) {
    return PathData()
        .box(PlotFrame::kLeft + slot * (i + 0.5) - width / 2, PlotFrame::kTop + height * (0.5 - floor / 10), width,
             height / 2)
        .text();
  };
  CATCH_CHECK(holds(picture, "d=\"" + box(0, 0) + box(3, 0) + "\" class=\"fill-forward\""));
  CATCH_CHECK(holds(picture, "d=\"" + box(0, 5) + box(1, 0) + box(2, 0) + "\" class=\"fill-stall\""));
}

CATCH_TEST_CASE("a limit near the data is drawn, and one far above is told in words", "[report]") {
  Chart chart = chart_of({{"a", "param", {6, 6}}, {"b", "grad", {1, 1}}}, {1, 2});
  chart.limits = {{"limit", 8}};
  const std::string y = coordinate(PlotFrame::kTop + 0.2 * (PlotFrame::kHeight - PlotFrame::kTop - PlotFrame::kBottom));
  CATCH_CHECK(holds(area_chart(chart), "y1=\"" + y + "\" x2=\"506\" y2=\"" + y + "\" class=\"limit line-limit\""));
  CATCH_CHECK_FALSE(holds(legend(chart), "limit"));
  chart.limits = {{"limit", 8000}};
  CATCH_CHECK_FALSE(holds(area_chart(chart), "line-limit"));
  CATCH_CHECK(holds(legend(chart), "limit 8000, far above the picture"));
  chart.limits = {{"limit", kNaN}};
  CATCH_CHECK_FALSE(holds(area_chart(chart) + legend(chart), "limit"));
}

CATCH_TEST_CASE("events are strokes at the foot, one a pixel, however many samples are put together", "[report]") {
  const auto strokes = [](const std::string& picture) {
    std::size_t count = 0;
    for (std::size_t at = 0; (at = picture.find("fill-limit", at)) != std::string::npos; ++at) ++count;
    return count;
  };
  Chart chart = chart_of({{"loss", "ink", {2, 4, 10}}}, {1, 2, 3});
  CATCH_CHECK(legend(chart).empty());
  chart.events = {{"skipped", "limit", {2}}};
  const std::string x =
      coordinate(PlotFrame::kLeft + (PlotFrame::kWidth - PlotFrame::kLeft - PlotFrame::kRight) / 2 - 1);
  CATCH_CHECK(holds(line_chart(chart), "x=\"" + x + "\""));
  CATCH_CHECK(strokes(line_chart(chart)) == 1);
  CATCH_CHECK(holds(legend(chart), "skipped</li>"));
  std::vector<double> many;
  for (int i = 0; i < 100'000; ++i) many.push_back(i);
  chart = chart_of({{"loss", "ink", many}}, many);
  chart.events = {{"skipped", "limit", {0, 50'000, 99'999}}};
  CATCH_CHECK(strokes(line_chart(chart)) == 3);
  chart.events[0].at = many;
  CATCH_CHECK(strokes(line_chart(chart)) <= PlotFrame::kWidth);
}

CATCH_TEST_CASE("a long run keeps its peaks, means and spans", "[report]") {
  std::vector<double> x, values;
  for (int i = 0; i < 100'000; ++i) {
    x.push_back(i);
    values.push_back(i == 77'777 ? 100 : i % 2);
  }
  const Chart chart = chart_of({{"a", "param", values}}, x);
  const Chart peaks = at_peaks(chart);
  CATCH_CHECK(peaks.x.size() == kMostSamples);
  CATCH_CHECK(*std::max_element(peaks.series[0].values.begin(), peaks.series[0].values.end()) == 100);
  CATCH_CHECK(std::abs(averaged(chart).series[0].values[0] - 0.5) < 0.01);
  const Spread spread = spread_of(values, {0, 10});
  CATCH_CHECK(spread.low == 0);
  CATCH_CHECK(spread.high == 1);
  CATCH_CHECK(line_chart(chart).size() < 60'000);
}

CATCH_TEST_CASE("buckets cover all samples once", "[report]") {
  for (const std::size_t count : {0, 1, 159, 160, 161, 1000}) {
    std::size_t next = 0;
    for (const auto& bucket : buckets(count, 160)) {
      CATCH_CHECK(bucket.first == next);
      CATCH_CHECK(bucket.last > bucket.first);
      next = bucket.last;
    }
    CATCH_CHECK(next == count);
  }
}

CATCH_TEST_CASE("no data is too strange for a picture", "[report]") {
  const double huge = std::numeric_limits<double>::max();
  const std::vector<std::vector<double>> strange{
      {}, {1}, {kNaN, kNaN}, {huge, huge}, {-huge, huge, 1}, {1, 2, 3, 4}, {0, 0, 0}, {INFINITY, 1, -INFINITY}};
  for (const auto& values : strange)
    for (const auto& x : std::vector<std::vector<double>>{{}, {1}, {1, 2, 3}, {0, huge / 2, huge}}) {
      Chart chart = chart_of({{"<a>", "param", values}, {"b", "grad", values}}, x);
      chart.lines = {{"peak", "ink", values}};
      chart.limits = {{"limit", huge}, {"limit", kNaN}, {"limit", -1}};
      chart.events = {{"event", "limit", values}};
      for (const auto& picture : {line_chart(chart), area_chart(chart), bar_chart(chart)}) {
        CATCH_CHECK(tests::XmlCheck::complaint(picture).empty());
        CATCH_CHECK_FALSE(holds(picture, "nan"));
      }
      CATCH_CHECK((legend(chart).empty() || tests::XmlCheck::complaint(legend(chart)).empty()));
    }
}

}  // namespace
}  // namespace asterias::tools::report
