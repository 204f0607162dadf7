#include "tools/report/figure.hpp"

#include <algorithm>
#include <cmath>

#include "tools/report/markup.hpp"

namespace asterias::tools::report {
namespace {

bool has_data(const Chart& chart) {
  const auto is_there = [](const Series& series) {
    return std::any_of(series.values.begin(), series.values.end(), [](double value) { return std::isfinite(value); });
  };
  return !chart.x.empty() && std::any_of(chart.series.begin(), chart.series.end(), is_there);
}

}  // namespace

std::string figure(std::string_view title, std::string_view reading, const std::string& key, const std::string& picture,
                   bool wide) {
  return std::string("<figure") + (wide ? " class=\"wide\"" : "") + "><figcaption><h3>" + escaped(title) + "</h3><p>" +
         escaped(reading) + "</p></figcaption>\n" + key + picture + "</figure>\n";
}

std::string chart_figure(std::string_view title, std::string_view reading, const Chart& chart, Drawing drawing) {
  if (!has_data(chart)) return missing_figure(title, "The logs do not say.");
  const std::string picture = drawing == Drawing::kLines   ? line_chart(chart)
                              : drawing == Drawing::kAreas ? area_chart(chart)
                                                           : bar_chart(chart);
  return figure(title, reading, legend(chart), picture);
}

std::string missing_figure(std::string_view title, std::string_view what) {
  return "<figure class=\"missing\"><figcaption><h3>" + escaped(title) + "</h3><p>" + escaped(what) +
         "</p></figcaption></figure>\n";
}

std::string section(std::string_view title, const std::string& content) {
  return "<section><h2>" + escaped(title) + "</h2><div class=\"figures\">\n" + content + "</div></section>\n";
}

}  // namespace asterias::tools::report
