#include "tools/report/traced_step.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

namespace asterias::tools::report {
namespace {

using nlohmann::json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

const json& field(const json& object, const char* name) {
  static const json nothing;
  if (!object.is_object()) return nothing;
  const auto found = object.find(name);
  return found == object.end() ? nothing : *found;
}

double number(const json& object, const char* name) {
  const json& value = field(object, name);
  return value.is_number() ? value.get<double>() : kNaN;
}

std::string text(const json& object, const char* name) {
  const json& value = field(object, name);
  return value.is_string() ? value.get<std::string>() : "";
}

std::vector<double> numbers(const json& list) {
  std::vector<double> all;
  if (!list.is_array()) return all;
  for (const json& value : list) all.push_back(value.is_number() ? value.get<double>() : kNaN);
  return all;
}

// A step with the time it took, in microseconds of the trace.
struct Frame {
  TracedStep step;
  double start_us, end_us;
};

std::vector<TracedChunk> chunks_of(const json& rows) {
  std::vector<TracedChunk> chunks;
  if (!rows.is_array()) return chunks;
  for (const json& row : rows) {
    TracedChunk chunk{text(row, "name"), text(row, "list"), number(row, "bytes"), {}};
    for (const json& stay : field(row, "spans"))
      if (stay.is_array() && stay.size() == 3 && stay[0].is_number() && stay[1].is_number() && stay[2].is_string())
        chunk.stays.push_back({stay[0].get<double>(), stay[1].get<double>(), stay[2].get<std::string>()});
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

TracedTier tier_of(const json& memory) {
  TracedTier tier{text(memory, "tier"), number(memory, "limit"), numbers(field(memory, "moments")), {}};
  const json& kinds = field(memory, "kinds");
  if (!kinds.is_object()) return tier;
  for (const auto& [name, bytes] : kinds.items()) tier.kinds.push_back({name, numbers(bytes)});
  return tier;
}

std::vector<Frame> frames_of(const json& other) {
  std::vector<Frame> frames;
  for (const json& residency : field(other, "residency")) {
    Frame frame{{}, number(residency, "start_us"), number(residency, "end_us")};
    const double length_us = frame.end_us - frame.start_us;
    if (!(length_us > 0) || !std::isfinite(length_us)) continue;
    frame.step.step = field(residency, "step").is_number_integer() ? field(residency, "step").get<std::int64_t>() : 0;
    frame.step.length_ms = length_us / 1e3;
    frame.step.num_moments = number(residency, "moments");
    frame.step.chunks = chunks_of(field(residency, "rows"));
    frames.push_back(std::move(frame));
  }
  for (const json& memory : field(other, "memory"))
    for (Frame& frame : frames)
      if (number(memory, "step") == static_cast<double>(frame.step.step)) frame.step.tiers.push_back(tier_of(memory));
  return frames;
}

// Transfers that overlap another one of their edge have threads of their own in the trace: 501, 502, ... beside 5.
double track_of(const json& event) {
  const double thread = number(event, "tid");
  return thread >= 100 ? std::floor(thread / 100) : thread;
}

void add_event(const json& event, std::vector<Frame>& frames) {
  const double track = track_of(event), start_us = number(event, "ts"), length_us = number(event, "dur");
  if (text(event, "ph") != "X" || !(track >= 0 && track < kNumTracks)) return;
  if (!std::isfinite(start_us) || !(length_us >= 0) || !std::isfinite(length_us)) return;
  // An event belongs to the step in which it begins.
  const auto frame = std::find_if(frames.begin(), frames.end(), [&](const Frame& candidate) {
    return start_us >= candidate.start_us && start_us < candidate.end_us;
  });
  if (frame == frames.end()) return;
  const double from_ms = (start_us - frame->start_us) / 1e3;
  const json& more = field(event, "args");
  frame->step.tracks[static_cast<std::size_t>(track)].push_back(
      {from_ms, from_ms + length_us / 1e3, text(event, "name"), text(more, "what"), number(more, "bytes")});
}

}  // namespace

std::vector<TracedStep> read_trace(std::istream& file, std::string* problem) {
  const json trace = json::parse(file, nullptr, /*allow_exceptions=*/false);
  std::vector<TracedStep> steps;
  if (trace.is_discarded()) *problem = "is cut off, or is not JSON";
  if (!trace.is_discarded() && !field(trace, "traceEvents").is_array()) *problem = "holds no traceEvents";
  if (!problem->empty()) return steps;
  auto frames = frames_of(field(trace, "otherData"));
  if (frames.empty()) *problem = "says of no step when it began and ended (otherData.residency)";
  for (const json& event : field(trace, "traceEvents")) add_event(event, frames);
  for (Frame& frame : frames) steps.push_back(std::move(frame.step));
  return steps;
}

}  // namespace asterias::tools::report
