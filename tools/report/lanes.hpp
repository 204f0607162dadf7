// Spans of time in lanes, one below the other: the timeline of a step, and where each chunk lay.
//
// Draws at a fixed size in pixels, since such a picture is scrolled on a narrow screen, not shrunk. Names of lanes are
// a picture of their own, which stays while the other one scrolls.
//
// Invariants
//   * No shape is narrower than a pixel, and neighbours of one colour that are less than a pixel apart are one shape,
//     unless one of them is 3 pixels wide: a lane has at most kLaneWidth shapes of each colour, however many spans it
//     was given.
//   * Spans are cut to the picture's range; those that are reversed or not finite are left out.
//
// Threading: plain values and pure functions.
#pragma once

#include <string>
#include <vector>

#include "tools/report/quantity.hpp"

namespace asterias::tools::report {

inline constexpr double kLaneWidth = 990;

struct Span {
  double from, to;
  std::string colour;
  std::string what;  // tooltip
};

struct Lane {
  std::string name;
  std::vector<Span> spans;
  std::string what;  // tooltip of spans that have none of their own, and of the lane
};

struct LaneChart {
  std::string label;
  std::string x_name;
  Unit x_unit = Unit::kMilliseconds;
  double from = 0, to = 1;
  double lane_height = 24, lane_gap = 6;
  std::vector<Lane> lanes;                 // neighbours of one name share it
  std::vector<std::string> bottom_to_top;  // colours of spans without tooltips that lie over each other
};

// Puts neighbours together that are nearer than `least` and of one colour, as the invariant says, and sorts by time.
// What is put together says how many spans it is, and the first and the last of them.
std::vector<Span> merged(std::vector<Span> spans, double least);

// The names and the lanes side by side, as HTML.
std::string lane_chart(const LaneChart& chart);

}  // namespace asterias::tools::report
