#include "tools/report/step_pictures.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include "tools/report/content_kinds.hpp"
#include "tools/report/figure.hpp"

namespace asterias::tools::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Chart over_steps(const RunFolder& run, const std::string& label, Unit unit) {
  Chart chart;
  chart.label = label;
  chart.x_name = "step";
  chart.x = run.steps.step_numbers();
  chart.y_unit = unit;
  return chart;
}

void add_column(Chart& chart, const RunFolder& run, const char* column, const char* name, const char* colour) {
  if (run.steps.has(column)) chart.series.push_back({name, colour, run.steps.column(column)});
}

// The first of several names that the logs know.
std::string known_column(const RunFolder& run, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (run.steps.has(name)) return name;
  return *names.begin();
}

std::string rate_column(const RunFolder& run) { return known_column(run, {"tokens_per_second", "tokens_per_s"}); }

double tokens_per_step(const RunFolder& run) {
  const auto fact = run.facts.find("tokens_per_step");
  return fact == run.facts.end() ? kNaN : std::strtod(fact->second.c_str(), nullptr);
}

// The logs have figures, and all of them are 0.
bool is_still(const Chart& chart) {
  bool has_figures = false;
  for (const auto& series : chart.series)
    for (const double value : series.values) {
      if (std::isfinite(value) && value != 0) return false;
      has_figures = has_figures || value == 0;
    }
  return has_figures;
}

// ---- learning -------------------------------------------------------------------------------------------------------

std::string loss_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Loss over steps", Unit::kPlain);
  chart.from_zero = false;
  add_column(chart, run, "loss", "training", "ink");
  const std::string validation = known_column(run, {"val_loss", "validation_loss"});
  if (run.steps.has(validation))
    chart.series.push_back({"validation", "validation", run.steps.column(validation), /*marks=*/true});
  std::string reading = "Where it breaks off, a step had no loss, or one that is not finite.";
  if (auto skipped = skipped_steps(run); !skipped.empty()) {
    chart.events.push_back({"skipped for an overflow", "limit", std::move(skipped)});
    reading += " A stroke at the foot is a step that changed nothing: its gradients overflowed in fp16.";
  }
  return chart_figure("Loss", reading, chart, Drawing::kLines);
}

std::string speed_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Tokens per second over steps", Unit::kPlain);
  chart.series.push_back({"tokens/s", "ink", tokens_per_second(run)});
  return chart_figure("Tokens per second", "The first step is the warm-up: nothing is foretold yet.", chart,
                      Drawing::kLines);
}

std::string rate_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Learning rate over steps", Unit::kPlain);
  add_column(chart, run, "lr", "learning rate", "ink");
  return chart_figure("Learning rate", "Of the first param group.", chart, Drawing::kLines);
}

std::string norm_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Norm of the gradient over steps", Unit::kPlain);
  add_column(chart, run, "grad_norm", "norm", "ink");
  return chart_figure("Gradient norm", "Over all parameters, before clipping.", chart, Drawing::kLines);
}

// ---- time -----------------------------------------------------------------------------------------------------------

constexpr const char* kPhases[] = {"forward", "backward", "update"};

// A phase's time less what it stood still, where the logs tell the two apart.
std::vector<double> busy_ms(const RunFolder& run, const std::string& phase) {
  auto ms = run.steps.column(phase + "_ms");
  const auto stalled = run.steps.column_or_zero("stall_" + phase + "_ms");
  for (std::size_t i = 0; i < ms.size(); ++i) ms[i] = std::max(ms[i] - stalled[i], 0.);
  return ms;
}

std::vector<double> sum_of(const RunFolder& run, const std::vector<std::string>& columns) {
  std::vector<double> sum(run.steps.num_steps(), 0);
  for (const auto& column : columns) {
    const auto values = run.steps.column_or_zero(column);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
  }
  return sum;
}

// What of a step lies in no phase: reading data, logging, sampling.
std::vector<double> rest_ms(const RunFolder& run) {
  auto rest = run.steps.column("wall_ms");
  const auto phases = sum_of(run, {"forward_ms", "backward_ms", "update_ms"});
  for (std::size_t i = 0; i < rest.size(); ++i) rest[i] = std::max(rest[i] - phases[i], 0.);
  return rest;
}

std::string phases_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Time of each step by phase", Unit::kMilliseconds);
  const bool by_phase = run.steps.has("stall_forward_ms");
  for (const char* phase : kPhases) chart.series.push_back({phase, phase, busy_ms(run, phase)});
  if (by_phase)
    chart.series.push_back(
        {"stalled", "stall", sum_of(run, {"stall_forward_ms", "stall_backward_ms", "stall_update_ms"})});
  if (run.steps.has("wall_ms")) chart.series.push_back({"outside the phases", "rest", rest_ms(run)});
  return chart_figure("Step time by phase",
                      by_phase ? "The phases without what they stood still, and that on top."
                               : "Stalls lie within the phases; their causes are beside this.",
                      chart, Drawing::kBars);
}

std::string stalls_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Stalls of each step by cause", Unit::kMilliseconds);
  add_column(chart, run, "stall_nvme_read_ms", "bytes from NVMe", "nvme_read");
  add_column(chart, run, "stall_h2d_ms", "bytes from DRAM (H2D)", "h2d");
  add_column(chart, run, "stall_nvme_write_ms", "room: writes to NVMe", "nvme_write");
  add_column(chart, run, "stall_d2h_ms", "room: copies to DRAM (D2H)", "d2h");
  if (chart.series.empty()) {  // logs that know two causes
    add_column(chart, run, "stall_fetch_ms", "bytes to arrive", "nvme_read");
    add_column(chart, run, "stall_evict_ms", "room", "nvme_write");
  }
  if (is_still(chart)) return missing_figure("Stalls by cause", "No step waited for a byte.");
  return chart_figure("Stalls by cause",
                      "What the engine's thread waited for, in the colour of the edge it waited for.", chart,
                      Drawing::kBars);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

std::vector<double> without_negative(std::vector<double> values) {
  for (double& value : values)
    if (!(value >= 0)) value = 0;
  return values;
}

// What the kinds of a tier do not explain, so that the stack reaches what the tier held.
std::vector<double> unexplained(const RunFolder& run, const std::string& tier, const Chart& chart) {
  auto rest = run.steps.column(tier + "_used_bytes");
  for (const auto& series : chart.series)
    for (std::size_t i = 0; i < rest.size(); ++i) rest[i] -= series.values[i];
  return without_negative(std::move(rest));
}

double last_finite(const std::vector<double>& values) {
  const auto found = std::find_if(values.rbegin(), values.rend(), [](double value) { return std::isfinite(value); });
  return found == values.rend() ? kNaN : *found;
}

std::string tier_figure(const RunFolder& run, const std::string& tier) {
  Chart chart = over_steps(run, "Memory of " + tier + " at the end of each step", Unit::kBytes);
  for (const auto& kind : kStackedKinds)
    if (const std::string column = tier + "_by_kind." + kind.name; run.steps.has(column))
      chart.series.push_back({kind.reads, kind.name, run.steps.column_or_zero(column)});
  const bool has_kinds = !chart.series.empty();
  chart.series.push_back({has_kinds ? "not told apart" : "used", "rest", unexplained(run, tier, chart)});
  chart.limits.push_back({"limit", last_finite(run.steps.column(tier + "_limit_bytes"))});
  if (const std::string peak = tier + "_peak_bytes"; run.steps.has(peak))
    chart.lines.push_back({"peak within the step", "ink", run.steps.column(peak)});
  return chart_figure(tier_name_for_readers(tier),
                      "What lay there when each step had ended, and the most at once within it.", chart,
                      Drawing::kAreas);
}

std::string activations_figure(const RunFolder& run) {
  Chart chart = over_steps(run, "Most activations of each step by tier", Unit::kBytes);
  for (const char* tier : kTiers)
    add_column(chart, run, (std::string(tier) + "_peak_activation_bytes").c_str(), tier, tier);
  if (chart.series.empty()) return "";
  return chart_figure(
      "Activations",
      "The most at once on each tier within the step, whatever else lay there. Not all of it at the same "
      "time.",
      chart, Drawing::kBars);
}

}  // namespace

std::vector<double> training_ms(const RunFolder& run) {
  const double tokens = tokens_per_step(run);
  const auto rates = run.steps.column(rate_column(run)), forward = run.steps.column("forward_ms"),
             backward = run.steps.column("backward_ms"), update = run.steps.column("update_ms");
  auto ms = run.steps.column("wall_ms");
  for (std::size_t i = 0; i < ms.size(); ++i) {
    const double phases = forward[i] + backward[i] + update[i];
    if (tokens > 0 && rates[i] > 0)
      ms[i] = tokens / rates[i] * 1e3;
    else if (std::isfinite(phases))
      ms[i] = phases;
  }
  return ms;
}

std::vector<double> tokens_per_second(const RunFolder& run) {
  if (const std::string logged = rate_column(run); run.steps.has(logged)) return run.steps.column(logged);
  const double tokens = tokens_per_step(run);
  auto rates = training_ms(run);
  for (double& rate : rates) rate = rate > 0 ? tokens / rate * 1e3 : kNaN;
  return rates;
}

std::vector<double> skipped_steps(const RunFolder& run) {
  const auto numbers = run.steps.step_numbers(), skipped = run.steps.column_or_zero("skipped");
  std::vector<double> steps;
  for (std::size_t i = 0; i < numbers.size(); ++i)
    if (skipped[i] != 0) steps.push_back(numbers[i]);
  return steps;
}

std::string learning_section(const RunFolder& run) {
  std::string figures = loss_figure(run) + speed_figure(run);
  if (run.steps.has("grad_norm")) figures += norm_figure(run);
  if (run.steps.has("lr")) figures += rate_figure(run);
  return section("Learning", figures);
}

std::string time_section(const RunFolder& run) { return section("Time", phases_figure(run) + stalls_figure(run)); }

std::string memory_section(const RunFolder& run) {
  std::string figures;
  for (const char* tier : kTiers)
    if (run.steps.has(std::string(tier) + "_used_bytes")) figures += tier_figure(run, tier);
  figures += activations_figure(run);
  if (figures.empty()) figures = missing_figure("Tiers", "The logs do not say how full a tier was.");
  return section("Memory from step to step", figures);
}

std::string traffic_section(const RunFolder& run) {
  Chart edges = over_steps(run, "Bytes over each edge by step", Unit::kBytes);
  add_column(edges, run, "h2d_bytes", "H2D", "h2d");
  add_column(edges, run, "d2h_bytes", "D2H", "d2h");
  add_column(edges, run, "nvme_read_bytes", "NVMe read", "nvme_read");
  add_column(edges, run, "nvme_write_bytes", "NVMe write", "nvme_write");
  Chart evictions = over_steps(run, "Evictions by step", Unit::kCount);
  add_column(evictions, run, "evictions_clean", "clean: left for free", "cheap");
  add_column(evictions, run, "evictions_dirty", "dirty: had to be written", "dear");
  Chart fetches = over_steps(run, "Fetches by step", Unit::kCount);
  add_column(fetches, run, "prefetch_hits", "there or on its way when used", "cheap");
  add_column(fetches, run, "fetches", "all fetches", "dear");
  if (is_still(edges) && is_still(evictions) && is_still(fetches))
    return section("Traffic", missing_figure("Bytes per edge", "No byte moved between tiers."));
  return section(
      "Traffic",
      chart_figure("Bytes per edge", "Between DRAM and accelerator, and to and from the drive.", edges,
                   Drawing::kBars) +
          chart_figure("Evictions", "Chunks and activations that left a tier.", evictions, Drawing::kBars) +
          chart_figure("Fetches and prefetch hits", "A hit was fetched ahead of its use.", fetches, Drawing::kLines));
}

}  // namespace asterias::tools::report
