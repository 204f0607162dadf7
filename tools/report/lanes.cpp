#include "tools/report/lanes.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "tools/report/markup.hpp"

namespace asterias::tools::report {
namespace {

constexpr double kTop = 6, kBottom = 40, kNames = 92, kSide = 20, kTextHeight = 12;

double height_of(const LaneChart& chart) {
  return kTop + static_cast<double>(chart.lanes.size()) * (chart.lane_height + chart.lane_gap) + kBottom;
}

double top_of(const LaneChart& chart, std::size_t lane) {
  return kTop + static_cast<double>(lane) * (chart.lane_height + chart.lane_gap);
}

double x_of(const LaneChart& chart, double value) {
  return kSide + (value - chart.from) / (chart.to - chart.from) * kLaneWidth;
}

bool begins_group(const LaneChart& chart, std::size_t lane) {
  return lane == 0 || chart.lanes[lane].name != chart.lanes[lane - 1].name;
}

// A name beside the first of the lanes that share it, unless the one before it leaves no room.
std::string names_picture(const LaneChart& chart) {
  Svg svg(kNames, height_of(chart), "names of the lanes", /*fixed_size=*/true);
  double free_from = 0;
  for (std::size_t i = 0; i < chart.lanes.size(); ++i) {
    const double y = top_of(chart, i) + std::max(chart.lane_height / 2 + 4, 10.);
    if (!begins_group(chart, i) || y < free_from) continue;
    svg.text(kNames - 4, y, Svg::Anchor::kEnd, chart.lanes[i].name);
    free_from = y + kTextHeight;
  }
  return std::move(svg).finish();
}

// A line between groups of lanes, where lanes of one group touch.
void draw_borders(Svg& svg, const LaneChart& chart) {
  if (chart.lane_gap > 1) return;
  for (std::size_t i = 1; i < chart.lanes.size(); ++i)
    if (begins_group(chart, i)) svg.line(0, top_of(chart, i), 2 * kSide + kLaneWidth, top_of(chart, i), "axis");
}

void draw_axis(Svg& svg, const LaneChart& chart) {
  const double bottom = height_of(chart) - kBottom;
  for (const auto& tick : nice_ticks(chart.from, chart.to, chart.x_unit, 10)) {
    if (tick.value < chart.from || tick.value > chart.to) continue;
    svg.line(x_of(chart, tick.value), kTop, x_of(chart, tick.value), bottom + 4, "grid");
    svg.text(x_of(chart, tick.value), bottom + 17, Svg::Anchor::kMiddle, tick.label);
  }
  svg.text(kSide + kLaneWidth / 2, bottom + 35, Svg::Anchor::kMiddle, chart.x_name, "quiet");
}

std::vector<Span> inside(const LaneChart& chart, const std::vector<Span>& spans) {
  std::vector<Span> kept;
  for (Span span : spans) {
    span.from = std::max(span.from, chart.from);
    span.to = std::min(span.to, chart.to);
    if (std::isfinite(span.from) && std::isfinite(span.to) && span.from <= span.to) kept.push_back(std::move(span));
  }
  return kept;
}

// Spans without a tooltip of their own share one path per colour, which is far shorter than a rectangle each.
void draw_lane(Svg& svg, const LaneChart& chart, std::size_t at) {
  const Lane& lane = chart.lanes[at];
  const double y = top_of(chart, at);
  std::map<std::string, PathData> unnamed;
  svg.rect(kSide, y, kLaneWidth, chart.lane_height, "lane", lane.what);
  for (const Span& span : merged(inside(chart, lane.spans), (chart.to - chart.from) / kLaneWidth)) {
    const double x = x_of(chart, span.from), width = std::max(x_of(chart, span.to) - x, 1.);
    if (span.what.empty())
      unnamed[span.colour].box(x, y, width, chart.lane_height);
    else
      svg.rect(x, y, width, chart.lane_height, "fill-" + span.colour, span.what);
  }
  for (const auto& colour : chart.bottom_to_top) {
    svg.path(unnamed[colour], "fill-" + colour, lane.what);
    unnamed.erase(colour);
  }
  for (const auto& [colour, path] : unnamed) svg.path(path, "fill-" + colour, lane.what);
}

struct Group {
  Span span;
  std::size_t count;
  std::string last;
};

Span as_span(Group group) {
  if (group.count == 1 || group.span.what.empty()) return std::move(group.span);
  group.span.what = std::to_string(group.count) + " together: " + group.span.what;
  if (!group.last.empty()) group.span.what += "\n… " + group.last;
  return std::move(group.span);
}

}  // namespace

std::vector<Span> merged(std::vector<Span> spans, double least) {
  std::stable_sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.from < b.from; });
  std::map<std::string, Group> open;  // by colour
  std::vector<Span> done;
  for (Span& span : spans) {
    const auto [at, is_new] = open.try_emplace(span.colour, Group{span, 1, ""});
    if (is_new) continue;
    Group& group = at->second;
    const bool is_near = span.from - group.span.to < least;
    // A span that is wide enough to be seen keeps its own tooltip.
    const bool is_wide = span.to - span.from >= 3 * least && span.from >= group.span.to;
    const bool group_is_wide = group.span.to - group.span.from >= 3 * least && span.from >= group.span.to;
    if (is_near && !(is_wide || group_is_wide)) {
      group.span.to = std::max(group.span.to, span.to);
      ++group.count;
      group.last = std::move(span.what);
      continue;
    }
    done.push_back(as_span(std::exchange(group, Group{std::move(span), 1, ""})));
  }
  for (auto& [colour, group] : open) done.push_back(as_span(std::move(group)));
  std::stable_sort(done.begin(), done.end(), [](const Span& a, const Span& b) { return a.from < b.from; });
  return done;
}

std::string lane_chart(const LaneChart& chart) {
  if (!(chart.to > chart.from) || !std::isfinite(chart.to - chart.from)) return "";
  Svg svg(kLaneWidth + 2 * kSide, height_of(chart), chart.label, /*fixed_size=*/true);
  draw_axis(svg, chart);
  for (std::size_t i = 0; i < chart.lanes.size(); ++i) draw_lane(svg, chart, i);
  draw_borders(svg, chart);
  return "<div class=\"lanes\"><div class=\"names\">" + names_picture(chart) + "</div><div class=\"scrolled\">" +
         std::move(svg).finish() + "</div></div>\n";
}

}  // namespace asterias::tools::report
