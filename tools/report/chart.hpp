// What a chart shows, and the three ways to draw it: lines, stacked areas, stacked bars.
//
// A chart is data with names, units and colours; it knows nothing of steps, tiers or files (page.cpp does). Values that
// are not finite are gaps. More samples than pixels are put together: lines show the mean and the span of what was put
// together, areas the sample with the largest sum, so that a peak stays a peak, bars the mean.
//
// Invariants
//   * All series have as many values as `x`, and `x` ascends; what is longer or shorter is cut or left empty.
//   * A stacked picture takes negative and missing values as 0.
//   * No picture has more than kMostSamples samples, however many were given.
//
// Threading: plain values and pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/report/quantity.hpp"

namespace asterias::tools::report {

inline constexpr std::size_t kMostSamples = 160;

struct Series {
  std::string name;
  std::string colour;  // a name of palette.hpp, or "stall"
  std::vector<double> values;
  bool marks = false;  // a dot for each value, joined over gaps: for what is measured now and then
};

// A dashed horizontal line. One far above the data does not squeeze them: it is left out, and the legend says so.
struct LimitLine {
  std::string name;
  double value;
};

// What happened at some of the x, each a stroke at the foot of the picture: no value, and never put together.
struct Events {
  std::string name;
  std::string colour;  // a name of palette.hpp
  std::vector<double> at;
};

struct Chart {
  std::string label;   // what a screen reader says
  std::string x_name;  // "step", written below the axis and in tooltips
  std::vector<double> x;
  Unit x_unit = Unit::kCount;
  Unit y_unit = Unit::kPlain;
  bool from_zero = true;       // false: the axis covers the data only
  std::vector<Series> series;  // stacked ones: first at the bottom
  std::vector<Series> lines;   // drawn over a stack, not added to it
  std::vector<LimitLine> limits;
  std::vector<Events> events;  // of line charts
};

std::string line_chart(const Chart& chart);
std::string area_chart(const Chart& chart);
std::string bar_chart(const Chart& chart);

// The key to a chart's colours, as HTML: series without any value are left out, and a single series needs none.
std::string legend(const Chart& chart);
std::string legend_entry(const std::string& colour, const std::string& name);

}  // namespace asterias::tools::report
