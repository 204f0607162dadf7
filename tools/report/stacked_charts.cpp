// Stacked areas and stacked bars: the same sums, drawn as a surface over time or as a column per sample.
#include <algorithm>
#include <vector>

#include "tools/report/chart.hpp"
#include "tools/report/plot_frame.hpp"
#include "tools/report/sampling.hpp"

namespace asterias::tools::report {
namespace {

// What a sample is made of, largest part of the stack first, as the picture reads from the top.
std::string tooltip(const Chart& chart, std::size_t at) {
  std::string text = chart.x_name + " " + quantity_text(chart.x[at], chart.x_unit) + ": " +
                     quantity_text(stacked_total(chart, at), chart.y_unit);
  for (auto series = chart.series.rbegin(); series != chart.series.rend(); ++series)
    if (const double value = stackable(series->values, at); value > 0)
      text += "\n" + series->name + " " + quantity_text(value, chart.y_unit);
  for (const auto& line : chart.lines)
    if (const double value = stackable(line.values, at); value > 0)
      text += "\n" + line.name + " " + quantity_text(value, chart.y_unit);
  return text;
}

// The sums below each series: floors[i][s] is where sample s of series i starts; the last entry is the total.
std::vector<std::vector<double>> floors(const Chart& chart) {
  std::vector<std::vector<double>> all{std::vector<double>(chart.x.size(), 0)};
  for (const auto& series : chart.series) {
    auto next = all.back();
    for (std::size_t s = 0; s < next.size(); ++s) next[s] += stackable(series.values, s);
    all.push_back(std::move(next));
  }
  return all;
}

// Walks along the top of a series and back along its floor.
void draw_area(PlotFrame& frame, const std::vector<double>& low, const std::vector<double>& high,
               const std::string& colour) {
  if (low == high) return;
  PathData path;
  path.move(frame.x(0), frame.y(high[0]));
  for (std::size_t s = 1; s < high.size(); ++s) path.line(frame.x(s), frame.y(high[s]));
  for (std::size_t s = low.size(); s-- > 0;) path.line(frame.x(s), frame.y(low[s]));
  frame.svg().path(path.close(), "area fill-" + colour);
}

void draw_columns(PlotFrame& frame, const Series& series, const std::vector<double>& low,
                  const std::vector<double>& high) {
  const double width = std::min(frame.slot_width() * (frame.slot_width() > 4 ? 0.8 : 1), 60.);
  PathData path;
  for (std::size_t s = 0; s < low.size(); ++s)
    if (high[s] > low[s]) path.box(frame.x(s) - width / 2, frame.y(high[s]), width, frame.y(low[s]) - frame.y(high[s]));
  frame.svg().path(path, "fill-" + series.colour);
}

// Unseen columns over the whole height that carry the tooltips.
void draw_tooltips(PlotFrame& frame, const Chart& chart) {
  for (std::size_t s = 0; s < chart.x.size(); ++s) {
    const double left = s == 0 ? frame.x(s) : (frame.x(s - 1) + frame.x(s)) / 2;
    const double right = s + 1 == chart.x.size() ? frame.x(s) : (frame.x(s) + frame.x(s + 1)) / 2;
    const double half = frame.slot_width() / 2;
    const double from = half > 0 ? frame.x(s) - half : left, to = half > 0 ? frame.x(s) + half : right;
    frame.svg().rect(from, frame.top(), to - from, frame.bottom() - frame.top(), "hover", tooltip(chart, s));
  }
}

// A surface needs two samples: a single one is drawn twice.
Chart widened(Chart chart) {
  if (chart.x.size() != 1) return chart;
  chart.x.push_back(chart.x[0] + 1);
  for (auto* all : {&chart.series, &chart.lines})
    for (auto& series : *all)
      if (!series.values.empty()) series.values.resize(2, series.values[0]);
  return chart;
}

}  // namespace

std::string area_chart(const Chart& chart) {
  const Chart less = widened(at_peaks(chart));
  PlotFrame frame(less, {0, highest_total(less)}, /*slots=*/false);
  const auto sums = floors(less);
  for (std::size_t i = 0; i < less.series.size() && !less.x.empty(); ++i)
    draw_area(frame, sums[i], sums[i + 1], less.series[i].colour);
  for (const auto& line : less.lines) frame.draw_line(line);
  draw_tooltips(frame, less);
  return std::move(frame).finish();
}

std::string bar_chart(const Chart& chart) {
  const Chart less = averaged(chart);
  PlotFrame frame(less, {0, highest_total(less)}, /*slots=*/true);
  const auto sums = floors(less);
  for (std::size_t i = 0; i < less.series.size(); ++i) draw_columns(frame, less.series[i], sums[i], sums[i + 1]);
  for (const auto& line : less.lines) frame.draw_line(line);
  draw_tooltips(frame, less);
  return std::move(frame).finish();
}

}  // namespace asterias::tools::report
