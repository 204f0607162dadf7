#include "tools/report/plot_frame.hpp"

#include <algorithm>
#include <cmath>

#include "tools/report/sampling.hpp"

namespace asterias::tools::report {
namespace {

constexpr int kTicksAcross = 6;
constexpr int kTicksUp = 5;
constexpr double kEventWidth = 2, kEventHeight = 12;
constexpr double kNear = 2.5;  // a limit this many times the data is still drawn

bool has(const std::vector<double>& values) { return !values.empty(); }

}  // namespace

bool is_near(const LimitLine& limit, double highest) {
  return std::isfinite(limit.value) && limit.value <= std::max(highest * kNear, 1.);
}

double highest_value(const Chart& chart) {
  double highest = 0;
  for (const auto& series : chart.series)
    for (const double value : series.values)
      if (std::isfinite(value)) highest = std::max(highest, value);
  return highest;
}

double highest_total(const Chart& chart) {
  double highest = 0;
  for (std::size_t i = 0; i < chart.x.size(); ++i) highest = std::max(highest, stacked_total(chart, i));
  for (const auto& line : chart.lines)
    for (const double value : line.values)
      if (std::isfinite(value)) highest = std::max(highest, value);
  return highest;
}

PlotFrame::PlotFrame(const Chart& chart, Range y, bool slots) : chart_(chart), svg_(kWidth, kHeight, chart.label) {
  for (const auto& limit : chart.limits)
    if (is_near(limit, y.to)) y.to = std::max(y.to, limit.value * 1.04);
  draw_y_axis(y);
  draw_x_axis(slots);
}

void PlotFrame::draw_y_axis(Range y) {
  const auto ticks = nice_ticks(y.from, y.to, chart_.y_unit, kTicksUp);
  y_range_ = {ticks.front().value, ticks.back().value};
  for (const auto& tick : ticks) {
    svg_.line(kLeft, this->y(tick.value), kWidth - kRight, this->y(tick.value), "grid");
    svg_.text(kLeft - 7, this->y(tick.value) + 4, Svg::Anchor::kEnd, tick.label);
  }
}

void PlotFrame::draw_x_axis(bool slots) {
  const double label_y = bottom() + 17;
  svg_.line(kLeft, bottom(), kWidth - kRight, bottom(), "axis");
  svg_.text((kLeft + kWidth - kRight) / 2, kHeight - 5, Svg::Anchor::kMiddle, chart_.x_name, "quiet");
  if (!has(chart_.x)) return;
  x_range_ = {chart_.x.front(), chart_.x.back()};
  if (slots) slot_width_ = (kWidth - kRight - kLeft) / static_cast<double>(chart_.x.size());
  if (x_range_.to <= x_range_.from) {
    svg_.text(x(0), label_y, Svg::Anchor::kMiddle, quantity_text(x_range_.from, chart_.x_unit));
    return;
  }
  for (const auto& tick : nice_ticks(x_range_.from, x_range_.to, chart_.x_unit, kTicksAcross)) {
    if (tick.value < x_range_.from || tick.value > x_range_.to) continue;
    svg_.line(x_of_value(tick.value), bottom(), x_of_value(tick.value), bottom() + 4, "axis");
    svg_.text(x_of_value(tick.value), label_y, Svg::Anchor::kMiddle, tick.label);
  }
}

double PlotFrame::x_of_value(double value) const {
  const double span = x_range_.to - x_range_.from;
  const double share = span > 0 ? (value - x_range_.from) / span : 0.5;
  return kLeft + slot_width_ / 2 + share * (kWidth - kRight - kLeft - slot_width_);
}

double PlotFrame::x(std::size_t sample) const {
  if (slot_width_ > 0) return kLeft + slot_width_ * (static_cast<double>(sample) + 0.5);
  return x_of_value(chart_.x[sample]);
}

void PlotFrame::draw_line(const Series& series) {
  PathData path;
  bool is_down = false;
  for (std::size_t i = 0; i < series.values.size(); ++i) {
    if (!std::isfinite(series.values[i])) {
      is_down = is_down && series.marks;
      continue;
    }
    is_down ? path.line(x(i), y(series.values[i])) : path.move(x(i), y(series.values[i]));
    is_down = true;
  }
  svg_.path(path, "line line-" + series.colour);
}

void PlotFrame::draw_events(const Events& events) {
  double drawn_to = -INFINITY;
  for (const double at : events.at) {
    const double x = x_of_value(std::clamp(at, x_range_.from, x_range_.to));
    if (!(x - drawn_to >= 1)) continue;
    drawn_to = x;
    svg_.rect(x - kEventWidth / 2, bottom() - kEventHeight, kEventWidth, kEventHeight, "fill-" + events.colour,
              chart_.x_name + " " + quantity_text(at, chart_.x_unit) + ": " + events.name);
  }
}

double PlotFrame::y(double value) const {
  return bottom() - (value - y_range_.from) / (y_range_.to - y_range_.from) * (bottom() - kTop);
}

std::string PlotFrame::finish() && {
  for (const auto& limit : chart_.limits) {
    if (!(limit.value <= y_range_.to)) continue;
    svg_.line(kLeft, y(limit.value), kWidth - kRight, y(limit.value), "limit line-limit");
    svg_.text(kWidth - kRight, y(limit.value) - 4, Svg::Anchor::kEnd,
              limit.name + " " + quantity_text(limit.value, chart_.y_unit), "on-limit");
  }
  return std::move(svg_).finish();
}

}  // namespace asterias::tools::report
