// Writes SVG and the text inside it: what comes from files is escaped here, and numbers become coordinates.
//
// Knows no charts. The page is XML and HTML at once, so that an XML parser can check it: every element is closed, every
// attribute quoted, and only the five entities of XML appear.
//
// Invariants
//   * Whatever bytes go in, escaped() is well-formed XML text and attribute value, in valid UTF-8.
//   * No coordinate is NaN, infinite or in exponent form.
//
// Threading: plain values and pure functions. Units: pixels of the picture's own viewBox.
#pragma once

#include <string>
#include <string_view>

namespace asterias::tools::report {

// Escapes text for element content and for attributes in double quotes. What is no UTF-8, or no character of XML,
// becomes U+FFFD.
std::string escaped(std::string_view text);

// Writes a number with at most two decimals. NaN becomes 0; beyond a million pixels the number is cut.
std::string coordinate(double value);

// Collects the `d` of a path.
class PathData {
 public:
  PathData& move(double x, double y) { return add('M', x, y); }
  PathData& line(double x, double y) { return add('L', x, y); }
  PathData& close();
  PathData& box(double x, double y, double width, double height);

  const std::string& text() const { return text_; }
  bool empty() const { return text_.empty(); }

 private:
  PathData& add(char command, double x, double y);
  std::string text_;
};

// One picture. Colours are CSS classes (palette.hpp), so that it follows the page's light or dark.
class Svg {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };

  // `label` is what a screen reader says. With `fixed_size` the picture keeps its pixels instead of filling its column.
  Svg(double width, double height, std::string_view label, bool fixed_size = false);

  // `title` is shown by browsers while the pointer rests on the shape; empty: none.
  void rect(double x, double y, double width, double height, std::string_view css_class, std::string_view title = "");
  void line(double x1, double y1, double x2, double y2, std::string_view css_class);
  void circle(double x, double y, double radius, std::string_view css_class, std::string_view title = "");
  void path(const PathData& data, std::string_view css_class, std::string_view title = "");
  void text(double x, double y, Anchor anchor, std::string_view words, std::string_view css_class = "");

  std::string finish() &&;

 private:
  void shape(std::string_view name, std::string_view attributes, std::string_view css_class, std::string_view title);
  std::string text_;
};

}  // namespace asterias::tools::report
