// The frame of a chart: where values lie in the picture, with axes, grid and limit lines drawn.
//
// Threading: plain values. Units: pixels of the picture's viewBox.
#pragma once

#include <string>

#include "tools/report/chart.hpp"
#include "tools/report/markup.hpp"

namespace asterias::tools::report {

// The values that a picture must cover.
struct Range {
  double from, to;
};

class PlotFrame {
 public:
  // Draws axes and grid for `chart`, whose values cover `y`. With `slots` each sample has a slot of equal width, as
  // bars want it; otherwise x is to scale.
  PlotFrame(const Chart& chart, Range y, bool slots);

  Svg& svg() { return svg_; }
  double x(std::size_t sample) const;
  double y(double value) const;
  double slot_width() const { return slot_width_; }
  double top() const { return kTop; }
  double bottom() const { return kHeight - kBottom; }

  // Breaks off where a value is missing, unless the series has marks.
  void draw_line(const Series& series);

  // Draws one stroke per pixel at most; what lies beyond the axis stands at its end.
  void draw_events(const Events& events);

  // Draws the limit lines that are near the data, over everything else, and ends the picture.
  std::string finish() &&;

  static constexpr double kWidth = 520, kHeight = 250;
  static constexpr double kLeft = 66, kRight = 14, kTop = 14, kBottom = 40;

 private:
  void draw_y_axis(Range y);
  void draw_x_axis(bool slots);
  double x_of_value(double value) const;

  const Chart& chart_;
  Svg svg_;
  Range x_range_{0, 1};
  Range y_range_{0, 1};
  double slot_width_ = 0;  // 0: x is to scale
};

// Whether a limit is near enough to `highest` to be drawn beside it.
bool is_near(const LimitLine& limit, double highest);

// The largest finite value of all series, and the largest sum or line of a stacked chart; 0 where there is none.
double highest_value(const Chart& chart);
double highest_total(const Chart& chart);

}  // namespace asterias::tools::report
