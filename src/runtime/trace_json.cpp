#include "runtime/trace_json.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace asterias::runtime {
namespace {

using evict::Edge;
using evict::StepTrace;
using evict::TimeSpan;
using Json = nlohmann::ordered_json;

// Threads of the trace. What overlaps on one goes to further lanes of it: lane n >= 1 of thread t is thread 100 t + n.
enum Thread { kPhases, kCompute, kUpdate, kH2d, kD2h, kNvmeRead, kNvmeWrite, kStalls, kNumThreads };

constexpr const char* kThreadNames[kNumThreads] = {"phases", "compute",   "update",     "H2D",
                                                   "D2H",    "NVMe read", "NVMe write", "stalls"};

Thread thread_of(Edge edge) { return static_cast<Thread>(kH2d + static_cast<int>(edge)); }

const char* category_of(Edge edge) { return edge == Edge::kH2d || edge == Edge::kD2h ? "copy" : "disk"; }

std::string text(std::string_view view) { return std::string(view); }

// One trace.json being put together.
class ChromeTrace {
 public:
  explicit ChromeTrace(std::span<const StepTrace> traces) {
    for (const auto& trace : traces)
      for (const auto& step : trace.steps) {
        if (steps_.empty()) origin_ns_ = step.span.start_ns;
        add_step(trace, step);
      }
    name_threads();
  }

  std::string dump() const {
    const Json other = {{"steps", steps_}, {"limits", limits_}, {"residency", residency_}, {"memory", memory_}};
    return Json({{"traceEvents", events_}, {"displayTimeUnit", "ms"}, {"otherData", other}}).dump() + "\n";
  }

 private:
  double us(std::int64_t at_ns) const { return static_cast<double>(at_ns - origin_ns_) / 1e3; }

  void add_step(const StepTrace& trace, const StepTrace::Step& step) {
    steps_.push_back(step.step);
    add_limits(trace);
    for (const auto& phase : step.phases) add_span(kPhases, phase.span, phase.name, "phase");
    for (const auto& each : step.operators) add_span(kCompute, each.span, each.name, "compute");
    for (const auto& update : step.updates)
      add_span(kUpdate, update.span, "chunk " + std::to_string(update.chunk), "update");
    auto moves = step.moves;  // lanes are filled in the order of time
    std::sort(moves.begin(), moves.end(),
              [](const auto& a, const auto& b) { return a.span.start_ns < b.span.start_ns; });
    for (const auto& move : moves) add_move(trace, move);
    for (const auto& stall : step.stalls) add_span(kStalls, stall.span, text(edge_name(stall.edge)), "stall");
    for (const auto& sample : step.samples) add_counter(sample);
    add_residency(trace, step);
    for (int tier = 0; tier < kNumTiers; ++tier) add_memory(trace, step, static_cast<Tier>(tier));
  }

  void add_limits(const StepTrace& trace) {
    for (int tier = 0; tier < kNumTiers; ++tier)
      if (const auto limit = trace.limit_bytes[static_cast<std::size_t>(tier)]; limit != 0)
        limits_[text(tier_name(static_cast<Tier>(tier)))] = limit_json(limit);
  }

  static Json limit_json(std::uint64_t bytes) { return bytes == UINT64_MAX ? Json(nullptr) : Json(bytes); }

  void add_span(Thread thread, const TimeSpan& span, const std::string& name, const char* category,
                Json args = nullptr) {
    Json event = {{"ph", "X"}, {"pid", 1}, {"tid", lane_of(thread, span)}, {"ts", us(span.start_ns)}};
    event["dur"] = static_cast<double>(span.end_ns - span.start_ns) / 1e3;
    event["name"] = name;
    event["cat"] = category;
    if (!args.is_null()) event["args"] = std::move(args);
    events_.push_back(std::move(event));
  }

  // Chrome wants spans of a thread nested or apart.
  int lane_of(Thread thread, const TimeSpan& span) {
    auto& ends = lane_ends_ns_[thread];
    const auto free = std::find_if(ends.begin(), ends.end(), [&](std::int64_t end) { return end <= span.start_ns; });
    const auto lane = static_cast<int>(free - ends.begin());
    if (free == ends.end()) ends.push_back(0);
    ends[static_cast<std::size_t>(lane)] = span.end_ns;
    return lane == 0 ? thread : 100 * thread + lane;
  }

  void add_move(const StepTrace& trace, const StepTrace::Move& move) {
    const auto& resident = trace.residents[move.resident];
    add_span(thread_of(move.edge), move.span, text(edge_name(move.edge)), category_of(move.edge),
             {{"what", resident.name()}, {"bytes", resident.bytes}});
  }

  void add_counter(const StepTrace::Sample& sample) {
    Json args = Json::object();
    for (int kind = 0; kind < evict::kNumContentKinds; ++kind)
      args[kind_name(kind)] = sample.bytes[static_cast<std::size_t>(kind)];
    events_.push_back({{"ph", "C"},
                       {"pid", 1},
                       {"tid", 0},
                       {"ts", us(sample.at_ns)},
                       {"name", "memory " + text(tier_name(sample.tier))},
                       {"args", std::move(args)}});
  }

  static std::string kind_name(int kind) { return text(content_kind_name(static_cast<evict::ContentKind>(kind))); }

  void add_residency(const StepTrace& trace, const StepTrace::Step& step) {
    std::map<std::uint32_t, Json> spans;
    for (const auto& each : step.residences)
      spans[each.resident].push_back(Json::array({each.from, each.to, tier_name(each.tier)}));
    Json rows = Json::array();
    for (auto& [index, list] : spans) {
      const auto& resident = trace.residents[index];
      rows.push_back({{"name", resident.name()},
                      {"list", content_kind_name(resident.kind)},
                      {"bytes", resident.bytes},
                      {"spans", std::move(list)}});
    }
    residency_.push_back({{"step", step.step},
                          {"start_us", us(step.span.start_ns)},
                          {"end_us", us(step.span.end_ns)},
                          {"moments", step.num_moments},
                          {"rows", std::move(rows)}});
  }

  void add_memory(const StepTrace& trace, const StepTrace::Step& step, Tier tier) {
    const auto limit = trace.limit_bytes[static_cast<std::size_t>(tier)];
    if (limit == 0) return;
    Json moments = Json::array();
    std::array<Json, evict::kNumContentKinds> kinds;
    for (const auto& sample : step.samples) {
      if (sample.tier != tier) continue;
      moments.push_back(sample.moment);
      for (std::size_t kind = 0; kind < kinds.size(); ++kind) kinds[kind].push_back(sample.bytes[kind]);
    }
    Json by_kind = Json::object();
    for (std::size_t kind = 0; kind < kinds.size(); ++kind)
      by_kind[kind_name(static_cast<int>(kind))] = std::move(kinds[kind]);
    memory_.push_back({{"step", step.step},
                       {"tier", tier_name(tier)},
                       {"limit", limit_json(limit)},
                       {"moments", std::move(moments)},
                       {"kinds", std::move(by_kind)}});
  }

  void name_threads() {
    for (int thread = 0; thread < kNumThreads; ++thread)
      for (std::size_t lane = 0; lane < std::max<std::size_t>(1, lane_ends_ns_[thread].size()); ++lane)
        events_.push_back({{"ph", "M"},
                           {"pid", 1},
                           {"tid", lane == 0 ? thread : 100 * thread + static_cast<int>(lane)},
                           {"name", "thread_name"},
                           {"args", {{"name", kThreadNames[thread]}}}});
  }

  std::int64_t origin_ns_ = 0;
  std::array<std::vector<std::int64_t>, kNumThreads> lane_ends_ns_;
  Json events_ = Json::array();
  Json steps_ = Json::array();
  Json limits_ = Json::object();
  Json residency_ = Json::array();
  Json memory_ = Json::array();
};

}  // namespace

std::string trace_json(std::span<const StepTrace> traces) { return ChromeTrace(traces).dump(); }

}  // namespace asterias::runtime
