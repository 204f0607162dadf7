#include "tools/report/page.hpp"

#include <algorithm>

#include "tools/report/facts.hpp"
#include "tools/report/figure.hpp"
#include "tools/report/markup.hpp"
#include "tools/report/page_style.hpp"
#include "tools/report/step_pictures.hpp"
#include "tools/report/trace_pictures.hpp"

namespace asterias::tools::report {
namespace {

constexpr std::size_t kMostTracedSteps = 3;

// The hatch of what stands still, which all pictures refer to.
constexpr const char* kHatch =
    "<svg class=\"defs\" aria-hidden=\"true\"><defs><pattern id=\"stall\" width=\"5\" height=\"5\" "
    "patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"5\" height=\"5\" class=\"lane\"/>"
    "<rect width=\"2\" height=\"5\" class=\"fill-ink\"/></pattern></defs></svg>\n";

std::string head(const RunFolder& run) {
  return "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head><meta charset=\"utf-8\"/>"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>Asterias: " +
         escaped(run.path) + "</title>\n<style>" + page_style() + "</style></head>\n";
}

std::string notes_list(const RunFolder& run) {
  if (run.notes.empty()) return "";
  std::string list = "<ul class=\"notes\">";
  for (const auto& note : run.notes) list += "<li>" + escaped(note) + "</li>";
  return list + "</ul>\n";
}

std::string failure_paragraph(const RunFolder& run) {
  const std::string why = failure(run);
  return why.empty() ? "" : "<p class=\"failure\">" + escaped(why) + "</p>\n";
}

std::string top(const RunFolder& run) {
  return "<h1>Asterias run: " + escaped(ending(run)) + "</h1>\n" + failure_paragraph(run) + "<p class=\"path\">" +
         escaped(run.path) + "</p>\n" + facts_list(run) + tier_table(run) + notes_list(run);
}

std::string by_step(const RunFolder& run) {
  if (run.steps.num_steps() == 0) return "";
  return learning_section(run) + time_section(run) + memory_section(run) + traffic_section(run);
}

std::string traced(const RunFolder& run) {
  std::string sections;
  const std::size_t shown = std::min(run.traced.size(), kMostTracedSteps);
  for (std::size_t i = 0; i < shown; ++i) sections += traced_section(run.traced[i]);
  if (run.traced.size() > shown)
    sections += "<p>The trace has " + std::to_string(run.traced.size()) + " steps; the first " + std::to_string(shown) +
                " are shown.</p>\n";
  return sections;
}

std::string configuration(const RunFolder& run) {
  if (run.config.empty()) return "";
  return "<details><summary>Configuration</summary><pre>" + escaped(run.config) + "</pre></details>\n";
}

}  // namespace

std::string report_page(const RunFolder& run) {
  return head(run) + "<body>\n" + kHatch + top(run) + by_step(run) + traced(run) + configuration(run) +
         "</body>\n</html>\n";
}

}  // namespace asterias::tools::report
