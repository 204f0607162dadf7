// Lines over samples, with the span of what was put together behind them.
#include <algorithm>
#include <cmath>

#include "tools/report/chart.hpp"
#include "tools/report/plot_frame.hpp"
#include "tools/report/sampling.hpp"

namespace asterias::tools::report {
namespace {

constexpr std::size_t kMostDots = 60;

Range covered(const Chart& chart) {
  Range range{INFINITY, -INFINITY};
  for (const auto& series : chart.series)
    for (const double value : series.values) {
      if (!std::isfinite(value)) continue;
      range = {std::min(range.from, value), std::max(range.to, value)};
    }
  if (range.from > range.to) return {0, 1};
  if (chart.from_zero || range.from == range.to) range = {std::min(range.from, 0.), std::max(range.to, 0.)};
  return range;
}

std::string tooltip(const Chart& chart, const Series& series, std::size_t at) {
  return chart.x_name + " " + quantity_text(chart.x[at], chart.x_unit) + ", " + series.name + ": " +
         quantity_text(series.values[at], chart.y_unit);
}

// Few values get dots; many would hide the line, and have unseen ones for their tooltips.
void draw_marks(PlotFrame& frame, const Chart& chart, const Series& series) {
  const bool is_shown = chart.x.size() == 1 || (series.marks && chart.x.size() < kMostDots);
  for (std::size_t i = 0; i < series.values.size(); ++i) {
    if (!std::isfinite(series.values[i])) continue;
    frame.svg().circle(frame.x(i), frame.y(series.values[i]), is_shown ? 3 : 5,
                       is_shown ? "fill-" + series.colour : "hover", tooltip(chart, series, i));
  }
}

// `all` has every sample, `frame` a slot for each bucket of them.
void draw_span(PlotFrame& frame, const Chart& all, const Series& series) {
  const auto runs = buckets(all.x.size(), kMostSamples);
  if (runs.size() == all.x.size()) return;
  PathData path;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Spread spread = spread_of(series.values, runs[i]);
    if (std::isfinite(spread.mean)) path.move(frame.x(i), frame.y(spread.low)).line(frame.x(i), frame.y(spread.high));
  }
  frame.svg().path(path, "span line-" + series.colour);
}

}  // namespace

std::string line_chart(const Chart& chart) {
  const Chart less = averaged(chart);
  PlotFrame frame(less, covered(chart), /*slots=*/false);
  for (const auto& series : chart.series) draw_span(frame, chart, series);
  for (const auto& series : less.series) frame.draw_line(series);
  for (const auto& series : less.series) draw_marks(frame, less, series);
  for (const auto& events : less.events) frame.draw_events(events);
  return std::move(frame).finish();
}

}  // namespace asterias::tools::report
