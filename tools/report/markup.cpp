#include "tools/report/markup.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace asterias::tools::report {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr double kFarthest = 1e6;

// The length of the UTF-8 sequence at the start of `text` if it is a character of XML 1.0, otherwise 0.
std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return lead >= 0x20 || lead == '\t' || lead == '\n' ? 1 : 0;
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  std::uint32_t code = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool forbidden = (code >= 0xD800 && code < 0xE000) || code == 0xFFFE || code == 0xFFFF || code > 0x10FFFF;
  return overlong || forbidden ? 0 : length;
}

void append_escaped(std::string& out, std::string_view character) {
  switch (character[0]) {
    case '&': out += "&amp;"; break;
    case '<': out += "&lt;"; break;
    case '>': out += "&gt;"; break;
    case '"': out += "&quot;"; break;
    case '\'': out += "&#39;"; break;
    default: out += character;
  }
}

std::string attribute(std::string_view name, double value) {
  return std::string(" ").append(name).append("=\"").append(coordinate(value)).append("\"");
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = character_length(text);
    if (length == 0)
      out += kReplacement;
    else
      append_escaped(out, text.substr(0, length));
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string coordinate(double value) {
  if (std::isnan(value)) return "0";
  value = std::round(std::clamp(value, -kFarthest, kFarthest) * 100) / 100;
  if (value == 0) return "0";  // and never "-0"
  char digits[32];
  const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed);
  return {digits, end};
}

PathData& PathData::add(char command, double x, double y) {
  text_ += command;
  text_ += coordinate(x);
  text_ += ' ';
  text_ += coordinate(y);
  return *this;
}

PathData& PathData::close() {
  text_ += 'Z';
  return *this;
}

PathData& PathData::box(double x, double y, double width, double height) {
  move(x, y);
  text_ += 'h' + coordinate(width) + 'v' + coordinate(height) + 'h' + coordinate(-width);
  return close();
}

Svg::Svg(double width, double height, std::string_view label, bool fixed_size) {
  text_ = "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"" + escaped(label) +
          "\" viewBox=\"0 0 " + coordinate(width) + " " + coordinate(height) + "\"";
  if (fixed_size) text_ += attribute("width", width) + attribute("height", height);
  text_ += ">\n";
}

void Svg::shape(std::string_view name, std::string_view attributes, std::string_view css_class,
                std::string_view title) {
  text_.append("<").append(name).append(attributes).append(" class=\"").append(escaped(css_class)).append("\"");
  if (title.empty())
    text_ += "/>\n";
  else
    text_ += "><title>" + escaped(title) + "</title></" + std::string(name) + ">\n";
}

void Svg::rect(double x, double y, double width, double height, std::string_view css_class, std::string_view title) {
  shape("rect", attribute("x", x) + attribute("y", y) + attribute("width", width) + attribute("height", height),
        css_class, title);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view css_class) {
  shape("line", attribute("x1", x1) + attribute("y1", y1) + attribute("x2", x2) + attribute("y2", y2), css_class, "");
}

void Svg::circle(double x, double y, double radius, std::string_view css_class, std::string_view title) {
  shape("circle", attribute("cx", x) + attribute("cy", y) + attribute("r", radius), css_class, title);
}

void Svg::path(const PathData& data, std::string_view css_class, std::string_view title) {
  if (!data.empty()) shape("path", " d=\"" + data.text() + "\"", css_class, title);
}

void Svg::text(double x, double y, Anchor anchor, std::string_view words, std::string_view css_class) {
  static constexpr std::string_view kAnchors[] = {"start", "middle", "end"};
  text_ += "<text" + attribute("x", x) + attribute("y", y) + " text-anchor=\"" +
           std::string(kAnchors[static_cast<int>(anchor)]) + "\" class=\"" + escaped(css_class) + "\">" +
           escaped(words) + "</text>\n";
}

std::string Svg::finish() && { return std::move(text_) + "</svg>\n"; }

}  // namespace asterias::tools::report
