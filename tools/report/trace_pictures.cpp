#include "tools/report/trace_pictures.hpp"

#include <algorithm>
#include <cmath>

#include "tools/report/content_kinds.hpp"
#include "tools/report/figure.hpp"
#include "tools/report/lanes.hpp"
#include "tools/report/palette.hpp"

namespace asterias::tools::report {
namespace {

constexpr const char* kTrackNames[] = {"phase", "compute",   "update",     "H2D",
                                       "D2H",   "NVMe read", "NVMe write", "stalled"};
constexpr const char* kTrackColours[] = {"other", "compute",   "update",     "h2d",
                                         "d2h",   "nvme_read", "nvme_write", "stall"};
constexpr std::size_t kMostRows = 400;
constexpr double kMostMoments = 1e7;  // a trace with more is not ours

// ---- timeline -------------------------------------------------------------------------------------------------------

// The colour of what a stall waited for, by the name that the trace gives it.
std::string stall_colour(std::string cause) {
  std::transform(cause.begin(), cause.end(), cause.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto says = [&](const char* word) { return cause.find(word) != std::string::npos; };
  if (says("h2d")) return "h2d";
  if (says("d2h")) return "d2h";
  if (says("read")) return "nvme_read";
  return says("write") ? "nvme_write" : "stall";
}

std::string colour_of(Track track, const TracedSpan& span) {
  if (track == Track::kPhases) return std::string(known_colour(span.name));
  if (track == Track::kStalls) return stall_colour(span.name);
  return kTrackColours[static_cast<int>(track)];
}

std::string tooltip(const TracedSpan& span) {
  std::string text = span.name.empty() ? span.what : span.name;
  if (!span.what.empty() && span.what != span.name && !span.name.empty()) text += " " + span.what;
  if (std::isfinite(span.bytes)) text += ", " + quantity_text(span.bytes, Unit::kBytes);
  return text + ", " + quantity_text(span.to_ms - span.from_ms, Unit::kMilliseconds) + " at " +
         quantity_text(span.from_ms, Unit::kMilliseconds);
}

Lane lane_of(const TracedStep& step, Track track) {
  Lane lane{kTrackNames[static_cast<int>(track)], {}, ""};
  for (const TracedSpan& span : step.tracks[static_cast<std::size_t>(track)])
    lane.spans.push_back({span.from_ms, span.to_ms, colour_of(track, span), tooltip(span)});
  return lane;
}

// Lanes of the edges and the stalls are shown where something lies in them.
bool is_shown(const TracedStep& step, Track track) {
  return track < Track::kH2d || !step.tracks[static_cast<std::size_t>(track)].empty();
}

std::string timeline_key(const TracedStep& step) {
  std::string key = "<ul class=\"legend\">";
  for (const char* phase : {"forward", "backward", "update"}) key += legend_entry(phase, phase);
  for (const Track track : {Track::kCompute, Track::kH2d, Track::kD2h, Track::kNvmeRead, Track::kNvmeWrite})
    if (is_shown(step, track))
      key += legend_entry(kTrackColours[static_cast<int>(track)], kTrackNames[static_cast<int>(track)]);
  return key + "</ul>\n";
}

std::string timeline_figure(const TracedStep& step) {
  LaneChart chart;
  chart.label = "Timeline of step " + std::to_string(step.step);
  chart.x_name = "since the step began";
  chart.to = step.length_ms;
  for (int track = 0; track < kNumTracks; ++track)
    if (is_shown(step, static_cast<Track>(track))) chart.lanes.push_back(lane_of(step, static_cast<Track>(track)));
  return figure("Timeline",
                "Who worked when; a stall has the colour of the edge it waited for. Rest the pointer on a span for its "
                "name; spans too near to tell apart are one. trace.json opens in ui.perfetto.dev for a closer look.",
                timeline_key(step), lane_chart(chart), /*wide=*/true);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

std::vector<double> bytes_of(const TracedTier& tier, const std::string& kind) {
  for (const auto& candidate : tier.kinds)
    if (candidate.name == kind) return candidate.bytes;
  return {};
}

bool is_known_kind(const std::string& name) {
  return std::any_of(std::begin(kStackedKinds), std::end(kStackedKinds),
                     [&](const ContentKindName& kind) { return kind.name == name; });
}

// One value per moment: that of the last sample until then, 0 before the first.
std::vector<double> held(const std::vector<double>& moments, const std::vector<double>& bytes, std::size_t count) {
  std::vector<double> values(count, 0);
  std::size_t filled_to = 0;
  double now = 0;
  for (std::size_t i = 0; i < moments.size() && i < bytes.size(); ++i) {
    if (!(moments[i] >= 0 && moments[i] < static_cast<double>(count))) continue;
    const auto moment = static_cast<std::size_t>(moments[i]);
    for (; filled_to < moment; ++filled_to) values[filled_to] = now;
    now = bytes[i];
  }
  for (; filled_to < count; ++filled_to) values[filled_to] = now;
  return values;
}

std::vector<double> every_moment(std::size_t count) {
  std::vector<double> moments(count);
  for (std::size_t i = 0; i < count; ++i) moments[i] = static_cast<double>(i);
  return moments;
}

std::string tier_figure(const TracedStep& step, const TracedTier& tier) {
  const std::string title = tier_name_for_readers(tier.name);
  Chart chart;
  chart.label = "Memory of " + tier.name + " over step " + std::to_string(step.step);
  chart.x_name = "moment";
  if (!(step.num_moments > 0 && step.num_moments <= kMostMoments))
    return missing_figure(title, "The trace does not say.");
  const auto count = static_cast<std::size_t>(step.num_moments);
  chart.x = every_moment(count);
  chart.y_unit = Unit::kBytes;
  for (const auto& kind : kStackedKinds)
    chart.series.push_back({kind.reads, kind.name, held(tier.moments, bytes_of(tier, kind.name), count)});
  for (const auto& kind : tier.kinds)
    if (!is_known_kind(kind.name)) chart.series.push_back({kind.name, "rest", held(tier.moments, kind.bytes, count)});
  chart.limits.push_back({"limit", tier.limit_bytes});
  return chart_figure(title, "What lay there at each moment (leaf operator) of the step.", chart, Drawing::kAreas);
}

// ---- residency ------------------------------------------------------------------------------------------------------

std::size_t order_of(const std::string& list) {
  std::size_t place = 0;
  for (const auto& kind : kStackedKinds) {
    if (list == kind.name) return place;
    ++place;
  }
  return place;
}

std::vector<const TracedChunk*> by_list(const std::vector<TracedChunk>& chunks) {
  std::vector<const TracedChunk*> sorted;
  for (const auto& chunk : chunks) sorted.push_back(&chunk);
  std::stable_sort(sorted.begin(), sorted.end(), [](const TracedChunk* a, const TracedChunk* b) {
    return std::pair(order_of(a->list), a->list) < std::pair(order_of(b->list), b->list);
  });
  return sorted;
}

Lane lane_of(const TracedChunk& chunk) {
  std::string what = chunk.name;
  if (std::isfinite(chunk.bytes)) what += ", " + quantity_text(chunk.bytes, Unit::kBytes);
  Lane lane{chunk.list, {}, what};
  for (const auto& stay : chunk.stays)
    lane.spans.push_back({stay.from_moment, stay.to_moment, std::string(known_colour(stay.tier)), ""});
  return lane;
}

bool holds_chunks(const TracedStep& step, const std::string& tier) {
  return std::any_of(step.chunks.begin(), step.chunks.end(), [&](const TracedChunk& chunk) {
    return std::any_of(chunk.stays.begin(), chunk.stays.end(), [&](const auto& stay) { return stay.tier == tier; });
  });
}

std::string residency_figure(const TracedStep& step) {
  const auto chunks = by_list(step.chunks);
  if (chunks.empty() || !(step.num_moments > 0)) return missing_figure("Residency", "The trace does not say.");
  const std::size_t every = (chunks.size() + kMostRows - 1) / kMostRows;
  LaneChart map;
  map.label = "Where each chunk lay over step " + std::to_string(step.step);
  map.x_name = "moment";
  map.x_unit = Unit::kCount;
  map.to = step.num_moments;
  map.bottom_to_top = {"nvme", "cpu", "gpu"};
  for (std::size_t i = 0; i < chunks.size(); i += every) map.lanes.push_back(lane_of(*chunks[i]));
  const auto rows = static_cast<double>(map.lanes.size());
  map.lane_height = std::clamp(std::floor(640 / rows), 2., 14.);
  map.lane_gap = map.lane_height > 4 ? 1 : 0;
  std::string key = "<ul class=\"legend\">";
  for (const char* tier : kTiers)
    if (holds_chunks(step, tier)) key += legend_entry(tier, tier_name_for_readers(tier));
  std::string reading = "A row per chunk, list by list; the colour is the tier that holds it, the fastest of several.";
  if (every > 1)
    reading += " One of " + std::to_string(every) + " of the " + std::to_string(chunks.size()) + " rows is shown.";
  return figure("Residency", reading, key + "</ul>\n", lane_chart(map), /*wide=*/true);
}

}  // namespace

std::string traced_section(const TracedStep& step) {
  std::string figures = timeline_figure(step);
  for (const auto& tier : step.tiers) figures += tier_figure(step, tier);
  if (step.tiers.empty()) figures += missing_figure("Memory of each tier", "The trace does not say.");
  return section("Step " + std::to_string(step.step) + " from within", figures + residency_figure(step));
}

}  // namespace asterias::tools::report
