// What the engine says of itself: books by kind, stalls by edge, the trace of a step, and what the plan foretells.
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "models/gpt.hpp"
#include "tests/runtime/budgets.hpp"

namespace asterias::test {
namespace {

using evict::Edge;
using evict::sum_of;

constexpr std::int64_t kBatch = 2;

models::GptOptions gpt() {
  models::GptOptions options;
  options.vocabulary = 256;
  options.sequence = 32;
  options.layers = 3;
  options.hidden = 128;
  options.heads = 4;
  options.dropout = 0;
  return options;
}

class Training {
 public:
  explicit Training(const EngineConfig& config)
      : made_(initialize_engine([] { return models::Gpt(gpt()); }, config)), engine(made_.engine) {}

  void pass() {
    made_.optimizer.zero_grad();
    const auto ids = torch::randint(gpt().vocabulary, {kBatch, gpt().sequence + 1});
    engine.backward(
        models::next_token_loss(engine(ids.narrow(1, 0, gpt().sequence)), ids.narrow(1, 1, gpt().sequence)));
  }
  const StepStats& step() {
    pass();
    made_.optimizer.step();
    return engine.stats();
  }

 private:
  Initialized<models::GptImpl> made_;

 public:
  Engine<models::GptImpl>& engine;
};

// The simulated accelerator with about a quarter of the model data, DRAM and NVMe below.
EngineConfig three_tiers() { return simulated(adamw_config(), 3 << 20); }

EngineConfig with_activations(EngineConfig config, ActivationPlacement activations, int prefetch) {
  config.placement.activations = activations;
  config.prefetch = prefetch;
  return config;
}

std::uint64_t& moved(StepStats& stats, Edge edge) {
  return *std::array{&stats.h2d_bytes, &stats.d2h_bytes, &stats.nvme_read_bytes,
                     &stats.nvme_write_bytes}[static_cast<std::size_t>(edge)];
}

double stalled_ms(const StepStats& stats, Edge edge) {
  return std::array{stats.stall_h2d_ms, stats.stall_d2h_ms, stats.stall_nvme_read_ms,
                    stats.stall_nvme_write_ms}[static_cast<std::size_t>(edge)];
}

void check_books(const StepStats& stats) {
  for (const auto& tier : stats.tiers) {
    CATCH_CHECK(sum_of(tier.bytes_by_kind) == tier.used_bytes);
    CATCH_CHECK(sum_of(tier.peak_by_kind) == tier.peak_bytes);
    CATCH_CHECK(tier.peak_bytes >= tier.used_bytes);
  }
  CATCH_CHECK(stats.stall_fetch_ms == stats.stall_nvme_read_ms + stats.stall_h2d_ms);
  CATCH_CHECK(stats.stall_evict_ms == stats.stall_nvme_write_ms + stats.stall_d2h_ms);
}

void check_span(const evict::TimeSpan& span, const StepTrace::Step& step) {
  CATCH_CHECK(span.start_ns >= step.span.start_ns);
  CATCH_CHECK(span.end_ns >= span.start_ns);
  CATCH_CHECK(span.end_ns <= step.span.end_ns);
}

void check_spans(const StepTrace::Step& step) {
  CATCH_CHECK(step.span.end_ns > step.span.start_ns);
  for (const auto& each : step.operators) check_span(each.span, step);
  for (const auto& each : step.phases) check_span(each.span, step);
  for (const auto& each : step.updates) check_span(each.span, step);
  for (const auto& each : step.stalls) check_span(each.span, step);
  for (const auto& each : step.moves) {
    CATCH_CHECK(each.span.start_ns >= step.span.start_ns);
    CATCH_CHECK(each.span.end_ns >= each.span.start_ns);
  }
}

void check_counters(const StepTrace& trace, const StepTrace::Step& step, StepStats stats) {
  std::map<Edge, std::uint64_t> bytes;
  std::map<Edge, std::int64_t> stall_ns;
  for (const auto& move : step.moves) bytes[move.edge] += trace.residents[move.resident].bytes;
  for (const auto& stall : step.stalls) stall_ns[stall.edge] += stall.span.end_ns - stall.span.start_ns;
  for (const Edge edge : {Edge::kH2d, Edge::kD2h, Edge::kNvmeRead, Edge::kNvmeWrite}) {
    CATCH_CAPTURE(edge_name(edge));
    CATCH_CHECK(bytes[edge] == moved(stats, edge));
    CATCH_CHECK(static_cast<double>(stall_ns[edge]) / 1e6 == stalled_ms(stats, edge));
  }
}

// Sums the residences over each moment and compares with the samples of the same moment.
void check_residences(const StepTrace& trace, const StepTrace::Step& step) {
  std::map<Tier, std::vector<ContentBytes>> there;
  for (const auto& sample : step.samples) there[sample.tier].resize(step.num_moments);
  for (const auto& each : step.residences) {
    CATCH_REQUIRE(each.from < each.to);
    CATCH_REQUIRE(each.to <= step.num_moments);
    const auto& resident = trace.residents[each.resident];
    for (auto moment = each.from; moment < each.to; ++moment)
      there[each.tier][moment][static_cast<std::size_t>(resident.kind)] += resident.bytes;
  }
  for (auto sample : step.samples) {
    sample.bytes[static_cast<std::size_t>(ContentKind::kOther)] = 0;
    sample.bytes[static_cast<std::size_t>(ContentKind::kLibraries)] = 0;
    CATCH_REQUIRE(sample.bytes == there[sample.tier][sample.moment]);
  }
}

}  // namespace

CATCH_TEST_CASE("bytes by kind sum to what each tier holds, at its peak and at the end") {
  for (const auto& config : {adamw_config(), three_tiers()}) {
    Training training(config);
    for (int step = 0; step < 4; ++step) check_books(training.step());
    const auto& stats = training.engine.stats();
    const auto of = [&](ContentKind kind) {
      std::uint64_t bytes = 0;
      for (const auto& tier : stats.tiers) bytes += tier.bytes_by_kind[static_cast<std::size_t>(kind)];
      return bytes;
    };
    const std::uint64_t list_bytes = training.engine.plan().model_data_bytes / 4;
    for (const auto kind : {ContentKind::kParam, ContentKind::kExpAvg, ContentKind::kExpAvgSq})
      CATCH_CHECK(of(kind) >= list_bytes);
    if (config.device == "simulated") {
      CATCH_CHECK(of(ContentKind::kGrad) >= list_bytes);
    } else {  // they lie in no chunk, and the smallest are no residents
      std::uint64_t gradient_bytes = 0;
      for (const auto& parameter : training.engine.module()->parameters())
        if (parameter.grad().nbytes() >= 4 * kKiB) gradient_bytes += round_up(parameter.grad().nbytes(), 4 * kKiB);
      CATCH_CHECK(of(ContentKind::kGrad) == gradient_bytes);
    }
    CATCH_CHECK(of(ContentKind::kMaster) == 0);
    CATCH_CHECK(stats.tiers[1].bytes_by_kind[static_cast<std::size_t>(ContentKind::kLibraries)] > 0);
    CATCH_CHECK(stats.wall_ms >= stats.forward_ms + stats.backward_ms + stats.update_ms);
  }
}

CATCH_TEST_CASE("the trace of a step agrees with the step's counters") {
  Training training(three_tiers());
  training.step();
  training.engine.start_trace();
  CATCH_CHECK_THROWS_AS(training.engine.start_trace(), StateError);
  const StepStats second = training.step(), third = training.step();
  const StepTrace trace = training.engine.stop_trace();
  CATCH_CHECK_THROWS_AS(training.engine.stop_trace(), StateError);
  CATCH_REQUIRE(trace.steps.size() == 2);
  CATCH_CHECK(trace.limit_bytes[0] == (3 << 20));
  for (const auto& step : trace.steps) {
    CATCH_CAPTURE(step.step);
    const auto& stats = step.step == 2 ? second : third;
    CATCH_CHECK(step.step == stats.step);
    CATCH_CHECK(stats.h2d_bytes > 0);
    check_spans(step);
    check_counters(trace, step, stats);
    check_residences(trace, step);
    CATCH_CHECK(step.operators.size() + 1 >= stats.num_operators);  // a pass begins with a boundary of its own
    const std::uint64_t late_before = step.step == 2 ? 0 : second.late_updates;  // nothing is foretold of the first
    CATCH_CHECK(step.updates.size() + stats.late_updates == training.engine.plan().num_chunks + late_before);
    std::vector<std::string> phases;
    for (const auto& phase : step.phases) phases.push_back(phase.name);
    CATCH_CHECK(phases == std::vector<std::string>{"forward", "backward", "update"});
  }
}

CATCH_TEST_CASE("a trace stopped within a step holds what has happened") {
  Training training(three_tiers());
  training.step();
  training.engine.start_trace();
  training.pass();
  const StepTrace trace = training.engine.stop_trace();
  CATCH_REQUIRE(trace.steps.size() == 1);
  check_residences(trace, trace.steps[0]);
  CATCH_CHECK(trace.steps[0].phases.size() == 2);
  for (const auto& move : trace.steps[0].moves) CATCH_CHECK(move.span.end_ns >= move.span.start_ns);
  training.engine.start_trace();
  CATCH_CHECK(training.engine.stop_trace().steps.empty());
}

CATCH_TEST_CASE("residents of a trace have names for people") {
  Training training(adamw_config());
  training.step();
  training.engine.start_trace();
  training.step();
  const StepTrace trace = training.engine.stop_trace();
  std::vector<std::string> names;
  for (const auto& resident : trace.residents) names.push_back(resident.name());
  const auto has = [&](const std::string& name) { return std::count(names.begin(), names.end(), name) == 1; };
  const std::string last = std::to_string(training.engine.plan().num_chunks - 1);
  for (const std::string list : {"param", "grad", "exp_avg", "exp_avg_sq"}) {
    CATCH_CHECK(has("chunk 0 " + list));
    CATCH_CHECK(has("chunk " + last + " " + list));
  }
  CATCH_CHECK(std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with("activation ") && name.ends_with(" (aten::gelu)");
  }));
}

// The libraries' own memory may grow after the forecast, and moves race with the computation.
CATCH_TEST_CASE("the plan foretells the peaks of later steps from the first pass") {
  const bool bf16 = GENERATE(false, true);
  const auto ample = simulated(adamw_config(), kAmple);
  for (auto config :
       {adamw_config(), three_tiers(), ample, with_activations(three_tiers(), ActivationPlacement::kKeep, 2),
        with_activations(three_tiers(), ActivationPlacement::kOffload, 2),
        with_activations(ample, ActivationPlacement::kOffload, 0)}) {
    config.bf16.enabled = bf16;
    CATCH_CAPTURE(bf16, config.device, static_cast<int>(config.placement.activations), config.prefetch);
    Training training(config);
    for (const auto& tier : training.engine.plan().tiers) CATCH_CHECK(tier.predicted_peak_bytes == 0);
    CATCH_CHECK_FALSE(training.engine.plan().is_measured);
    training.pass();
    const Plan plan = training.engine.plan();
    CATCH_REQUIRE(plan.is_measured);
    const auto lists = {ContentKind::kParam, ContentKind::kGrad, ContentKind::kMaster, ContentKind::kExpAvg,
                        ContentKind::kExpAvgSq};
    std::uint64_t in_lists = 0;
    for (const auto kind : lists) in_lists += plan.content_by_kind[static_cast<std::size_t>(kind)];
    CATCH_CHECK(in_lists == plan.model_data_bytes);
    for (int step = 0; step < 4; ++step) training.step();
    const auto& stats = training.engine.stats();
    for (const auto& tier : plan.tiers) {
      CATCH_CAPTURE(tier_name(tier.tier));
      const auto foretold = static_cast<double>(tier.predicted_peak_bytes);
      const auto measured = static_cast<double>(stats.tiers[static_cast<std::size_t>(tier.tier)].peak_bytes);
      CATCH_CHECK(sum_of(tier.predicted_by_kind) == tier.predicted_peak_bytes);
      CATCH_CHECK(foretold <= static_cast<double>(tier.limit_bytes));
      CATCH_CHECK(std::abs(foretold - measured) <= 0.03 * measured);
    }
    const auto foretold_h2d = static_cast<double>(plan.predicted_h2d_bytes);
    CATCH_CHECK(std::abs(foretold_h2d - static_cast<double>(stats.h2d_bytes)) <= 0.15 * foretold_h2d);
    CATCH_CHECK((plan.predicted_h2d_bytes > 0) == (stats.h2d_bytes > 0));
  }
}

CATCH_TEST_CASE("a step is simulated from its first passes and what later ones take") {
  Training training(three_tiers());
  CATCH_CHECK_FALSE(training.engine.simulate({})->times.work_ns() > 0);
  training.pass();
  const Plan plan = training.engine.plan();
  CATCH_CHECK(training.engine.simulate({})->moved(Edge::kH2d) == plan.predicted_h2d_bytes);
  CATCH_CHECK(training.engine.simulate({})->moved(Edge::kNvmeWrite) == plan.predicted_nvme_write_bytes);
  for (int step = 0; step < 3; ++step) {
    const auto instant = training.engine.simulate({});
    CATCH_REQUIRE(instant);
    CATCH_CHECK(instant->times.pass_work_ns > 0);
    CATCH_CHECK((instant->times.update_work_ns > 0) == (step > 0));
    CATCH_CHECK(instant->times.step_ns == instant->times.work_ns());
    MoveRates slow;
    for (auto& edge : slow.edges) edge.bytes_per_second = 1e3;
    const auto times = training.engine.simulate(slow)->times;
    CATCH_CHECK(times.step_ns == times.work_ns() + times.stalled_ns());
    CATCH_CHECK(times.stalled_ns() > 0);
    training.step();
  }
  const auto& stats = training.engine.stats();
  CATCH_CHECK((stats.busy_h2d_ms > 0) == (stats.h2d_bytes > 0));
  CATCH_CHECK((stats.busy_nvme_ms > 0) == (stats.nvme_read_bytes + stats.nvme_write_bytes > 0));
  const auto recorded = training.engine.recorded_step();
  CATCH_REQUIRE(recorded);
  CATCH_CHECK(recorded->policy == "next_use");
  CATCH_CHECK(recorded->script.pass_starts.size() == 2);  // before the first update
  const auto again = evict::recorded_step_from_json(evict::to_json(*recorded), "step");
  CATCH_CHECK(again.play().times.step_ns == recorded->play().times.step_ns);
}

}  // namespace asterias::test
