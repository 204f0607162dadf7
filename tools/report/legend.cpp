#include <algorithm>
#include <cmath>

#include "tools/report/chart.hpp"
#include "tools/report/markup.hpp"
#include "tools/report/plot_frame.hpp"

namespace asterias::tools::report {
namespace {

bool has_value(const Series& series) {
  return std::any_of(series.values.begin(), series.values.end(),
                     [](double value) { return std::isfinite(value) && value != 0; });
}

std::string entry(const std::string& swatch, const std::string& name) {
  return "<li><svg viewBox=\"0 0 12 12\" aria-hidden=\"true\">" + swatch + "</svg>" + escaped(name) + "</li>";
}

std::string stroke(const std::string& css_class) {
  return "<line x1=\"0\" y1=\"6\" x2=\"12\" y2=\"6\" class=\"" + escaped(css_class) + "\"/>";
}

}  // namespace

std::string legend_entry(const std::string& colour, const std::string& name) {
  return entry("<rect width=\"12\" height=\"12\" rx=\"2\" class=\"fill-" + escaped(colour) + "\"/>", name);
}

std::string legend(const Chart& chart) {
  std::string list;
  if (chart.series.size() == 1 && chart.lines.empty() && chart.events.empty()) return list;
  for (const auto& series : chart.series)
    if (has_value(series)) list += legend_entry(series.colour, series.name);
  for (const auto& line : chart.lines)
    if (has_value(line)) list += entry(stroke("line line-" + line.colour), line.name);
  for (const auto& events : chart.events)
    if (!events.at.empty()) list += legend_entry(events.colour, events.name);
  const double highest = std::max(highest_value(chart), highest_total(chart));
  for (const auto& limit : chart.limits)
    if (!is_near(limit, highest) && std::isfinite(limit.value))
      list += entry(stroke("limit line-limit"),
                    limit.name + " " + quantity_text(limit.value, chart.y_unit) + ", far above the picture");
  return list.empty() ? "" : "<ul class=\"legend\">" + list + "</ul>\n";
}

}  // namespace asterias::tools::report
