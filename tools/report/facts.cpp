#include "tools/report/facts.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tools/report/content_kinds.hpp"
#include "tools/report/markup.hpp"
#include "tools/report/quantity.hpp"
#include "tools/report/step_pictures.hpp"

namespace asterias::tools::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string fact(const std::string& name, const std::string& value) {
  return value.empty() ? "" : "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(value) + "</dd></div>\n";
}

std::string number_fact(const std::string& name, double value, Unit unit) {
  return std::isfinite(value) ? fact(name, quantity_text(value, unit)) : "";
}

// What the steps after warm-up took, without validations and samples. NaN: no such step, or the logs do not say.
struct WarmSteps {
  double mean_ms = kNaN, tokens_per_second = kNaN;
};

WarmSteps warm_steps(const RunFolder& run) {
  const auto warm_up = run.steps.column_or_zero("warm_up");
  const auto ms = training_ms(run), rates = tokens_per_second(run);
  double count = 0, total_ms = 0, total_tokens = 0;
  for (std::size_t i = 0; i < ms.size(); ++i) {
    if (warm_up[i] != 0 || !std::isfinite(ms[i])) continue;
    ++count;
    total_ms += ms[i];
    total_tokens += rates[i] * ms[i] / 1e3;
  }
  if (!(total_ms > 0)) return {};
  return {total_ms / count, total_tokens / total_ms * 1e3};
}

double first_finite(const std::vector<double>& values) {
  const auto found = std::find_if(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
  return found == values.end() ? kNaN : *found;
}

double last_finite(const std::vector<double>& values) {
  return first_finite(std::vector<double>(values.rbegin(), values.rend()));
}

std::string loss_fact(const RunFolder& run) {
  const auto loss = run.steps.column("loss");
  if (!std::isfinite(first_finite(loss))) return "";
  return fact("loss", quantity_text(first_finite(loss), Unit::kPlain) + " at first, " +
                          quantity_text(last_finite(loss), Unit::kPlain) + " at last");
}

// Of fp16; in other runs the scale is 1 and no step is skipped.
std::string loss_scale_fact(const RunFolder& run) {
  const auto scales = run.steps.column("loss_scale");
  const auto skipped = static_cast<double>(skipped_steps(run).size());
  const bool is_scaled = std::any_of(scales.begin(), scales.end(), [](double s) { return std::isfinite(s) && s != 1; });
  if (!is_scaled && skipped == 0) return "";
  const double last = last_finite(scales);
  return fact("loss scale", quantity_text(last, last == std::floor(last) ? Unit::kCount : Unit::kPlain) + " at last; " +
                                quantity_text(skipped, Unit::kCount) + (skipped == 1 ? " step" : " steps") +
                                " skipped for an overflow");
}

std::string steps_fact(const RunFolder& run) {
  return fact("steps", quantity_text(static_cast<double>(run.steps.num_steps()), Unit::kCount));
}

std::string model_fact(const RunFolder& run) {
  const auto model = run.facts.find("model");
  return model == run.facts.end() ? "" : fact("model", model->second);
}

// What the program noted beside the facts that have a place of their own, in its own words: "tokens_per_step" becomes
// "tokens per step".
std::string other_facts(const RunFolder& run) {
  std::string list;
  for (const auto& [key, value] : run.facts) {
    if (key == "model") continue;
    std::string name = key == "steps" ? "planned steps" : key;
    std::replace(name.begin(), name.end(), '_', ' ');
    list += fact(name, value);
  }
  return list;
}

std::string plan_facts(const RunFolder& run) {
  const auto planned = [&](const char* name) {
    const auto found = run.plan_numbers.find(name);
    return found == run.plan_numbers.end() ? kNaN : found->second;
  };
  return number_fact("parameters", planned("num_parameters"), Unit::kCount) +
         number_fact("model data", planned("model_data_bytes"), Unit::kBytes) +
         number_fact("chunk size", planned("chunk_bytes"), Unit::kBytes);
}

std::string about_facts(const RunFolder& run) {
  std::string list;
  for (const auto& [name, value] : run.about) list += fact(name, value);
  return list;
}

std::string cell(double bytes) {
  return "<td>" + (std::isfinite(bytes) ? escaped(quantity_text(bytes, Unit::kBytes)) : "–") + "</td>";
}

double planned_limit(const RunFolder& run, const PlannedTier* tier, const std::string& name) {
  return tier ? tier->limit_bytes : last_finite(run.steps.column(name + "_limit_bytes"));
}

std::string tier_row(const RunFolder& run, const std::string& name) {
  const auto found =
      std::find_if(run.plan.begin(), run.plan.end(), [&](const PlannedTier& tier) { return tier.name == name; });
  const PlannedTier* tier = found == run.plan.end() ? nullptr : &*found;
  if (!tier && !run.steps.has(name + "_used_bytes")) return "";
  const double limit = planned_limit(run, tier, name);
  return "<tr><th>" + escaped(tier_name_for_readers(name)) + "</th>" +
         (std::isfinite(limit) ? cell(limit) : "<td>no limit</td>") + cell(tier ? tier->smallest_bytes : kNaN) +
         cell(tier ? tier->predicted_peak_bytes : kNaN) + cell(highest_of(run.steps.column(name + "_peak_bytes"))) +
         "</tr>\n";
}

}  // namespace

std::string ending(const RunFolder& run) {
  return run.how_it_ended.empty() ? "no end on record: still running, or killed"
                                  : run.how_it_ended.substr(0, run.how_it_ended.find(": "));
}

std::string failure(const RunFolder& run) {
  const std::size_t colon = run.how_it_ended.find(": ");
  return colon == std::string::npos ? "" : run.how_it_ended.substr(colon + 2);
}

std::string facts_list(const RunFolder& run) {
  const WarmSteps warm = warm_steps(run);
  return "<dl class=\"facts\">\n" + model_fact(run) + steps_fact(run) + loss_fact(run) + loss_scale_fact(run) +
         number_fact("mean step after warm-up", warm.mean_ms, Unit::kMilliseconds) +
         number_fact("mean tokens/s after warm-up", warm.tokens_per_second, Unit::kPlain) +
         fact("fingerprint", run.fingerprint) + plan_facts(run) + other_facts(run) + about_facts(run) + "</dl>\n";
}

std::string tier_table(const RunFolder& run) {
  std::string rows;
  for (const char* tier : kTiers) rows += tier_row(run, tier);
  if (rows.empty()) return "";
  return "<div class=\"scrolled\"><table><thead><tr><th>tier</th><th>budget</th><th>smallest sufficient</th>"
         "<th>predicted peak</th><th>measured peak</th></tr></thead><tbody>\n" +
         rows + "</tbody></table></div>\n";
}

}  // namespace asterias::tools::report
