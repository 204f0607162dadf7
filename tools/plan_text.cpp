#include "tools/plan_text.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "tools/number_text.hpp"
#include "tools/placement_text.hpp"

namespace asterias::tools {
namespace {

using Json = nlohmann::ordered_json;
using evict::StepTimes;

double tokens_per_second(const TrainOptions& options, double step_ms) {
  return step_ms > 0 ? static_cast<double>(options.tokens_per_step()) / step_ms * 1e3 : 0;
}

std::string rate_text(double bytes_per_second) {
  return bytes_per_second > 0 ? bytes_text(static_cast<std::uint64_t>(bytes_per_second)) + "/s" : "";
}

// What each parameter costs in the lists that there are, padding included.
std::string model_data_text(const Plan& plan) {
  const auto per_parameter = [&](std::uint64_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(std::max<std::uint64_t>(plan.num_parameters, 1));
  };
  std::string text = "bytes per parameter\n";
  for (const auto kind :
       {ContentKind::kParam, ContentKind::kGrad, ContentKind::kMaster, ContentKind::kExpAvg, ContentKind::kExpAvgSq}) {
    const std::uint64_t bytes = plan.content_by_kind[static_cast<std::size_t>(kind)];
    if (bytes > 0)
      text += printf_text("%-11s%12.2f%14s\n", content_kind_name(kind).data(), per_parameter(bytes),
                          bytes_text(bytes).c_str());
  }
  text += printf_text("%-11s%12.2f%14s\n", "all", per_parameter(plan.model_data_bytes),
                      bytes_text(plan.model_data_bytes).c_str());
  if (plan.state_saved_bytes > 0)
    text += printf_text("%-11s%12.2f%14s   less than with fp32 state\n", "saved", per_parameter(plan.state_saved_bytes),
                        bytes_text(plan.state_saved_bytes).c_str());
  return text;
}

// Empty without an accelerator.
std::string updates_text(const Plan& plan) {
  const bool has_gpu = std::any_of(plan.tiers.begin(), plan.tiers.end(),
                                   [](const Plan::TierPlan& tier) { return tier.tier == Tier::kGpu; });
  if (!plan.is_measured || !has_gpu) return "";
  const auto count = [](std::uint64_t chunks) { return static_cast<unsigned long long>(chunks); };
  return printf_text("updates    %llu chunks on the gpu tier with %s of state, %llu on the cpu tier\n\n",
                     count(plan.num_gpu_updates), bytes_text(plan.gpu_state_bytes).c_str(),
                     count(plan.num_cpu_updates));
}

std::string smallest_text(const Plan& plan) {
  std::string text = "smallest sufficient budgets, each with the others as given\n";
  for (const auto& tier : plan.tiers)
    text += printf_text("%-11s%12s%14s\n", tier_name(tier.tier).data(), limit_text(tier.smallest_bytes).c_str(),
                        printf_text("of %s", limit_text(tier.limit_bytes).c_str()).c_str());
  return text;
}

std::string activations_text(const Plan& plan, const TrainOptions& options) {
  std::string text = "activations, the most at once";
  if (options.recompute) text += ", each block's computed again in backward";
  switch (options.config.placement.activations) {
    case ActivationPlacement::kAuto: break;
    case ActivationPlacement::kKeep: text += ", kept where they are"; break;
    case ActivationPlacement::kOffload: text += ", moved down early"; break;
  }
  text += "\n";
  for (const auto& tier : plan.tiers)
    text +=
        printf_text("%-11s%12s\n", tier_name(tier.tier).data(), bytes_text(tier.predicted_activation_bytes).c_str());
  return text;
}

std::string traffic_text(const StepCosts& costs) {
  std::string text = "traffic of a step, and the rate of what carries it\n";
  const auto edge = [&](const char* name, std::uint64_t bytes, double rate) {
    if (rate > 0) text += printf_text("%-11s%12s%14s\n", name, bytes_text(bytes).c_str(), rate_text(rate).c_str());
  };
  edge("H2D", costs.h2d_bytes, costs.h2d_bytes_per_second);
  edge("D2H", costs.d2h_bytes, costs.d2h_bytes_per_second);
  edge("NVMe read", costs.nvme_read_bytes, costs.nvme_bytes_per_second);
  edge("NVMe write", costs.nvme_write_bytes, costs.nvme_bytes_per_second);
  return text;
}

// Where the foretold step waits.
std::string waits_text(const StepTimes& times) {
  std::string text;
  for (int edge = 0; edge < evict::kNumEdges; ++edge) {
    const auto ns = times.stall_ns[static_cast<std::size_t>(edge)];
    if (ns == 0) continue;
    text +=
        printf_text("%s%s for %s", text.empty() ? "waits      " : ", ", ms_text(static_cast<double>(ns) / 1e6).c_str(),
                    edge_name(static_cast<evict::Edge>(edge)).data());
  }
  if (!text.empty()) text += "\n";
  return text;
}

std::string total_text(const StepTimes& times, const TrainOptions& options) {
  const double step_ms = static_cast<double>(times.step_ns) / 1e6;
  return printf_text("step       %s foretold, %.0f tokens/s\n", ms_text(step_ms).c_str(),
                     tokens_per_second(options, step_ms)) +
         waits_text(times);
}

std::string total_text(const StepEstimate& estimate, const TrainOptions& options) {
  const double least = estimate.lower_ms(), most = estimate.upper_ms();
  if (least == most)
    return printf_text("step       %s, %.0f tokens/s\n", ms_text(least).c_str(), tokens_per_second(options, least));
  return printf_text(
      "step       %s where all overlaps, %s where nothing does; %.0f to %.0f tokens/s\n"
      "           On a quiet machine steps mostly lie between the two, nearer to the second the less room there is\n"
      "           to fetch ahead. Other work here, or a drive whose cache is full, can double it.\n",
      ms_text(least).c_str(), ms_text(most).c_str(), tokens_per_second(options, most),
      tokens_per_second(options, least));
}

std::string time_text(const Foretold& foretold, const TrainOptions& options) {
  const StepEstimate& estimate = *foretold.estimate;
  std::string text = "time of a step, and what it is spent on\n";
  for (const auto& part : estimate.parts)
    text += printf_text("%-14s%9s   %s\n", part.name.c_str(), ms_text(part.ms).c_str(), part.resource.c_str());

  text += "\n";
  text += foretold.simulation ? total_text(foretold.simulation->times, options) : total_text(estimate, options);
  return text + "slowest    the " + estimate.slowest_resource() + "\n";
}

Json times_json(const StepTimes& times) {
  const auto ms = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e6; };
  Json json{{"step_ms", ms(times.step_ns)}, {"processor_ms", ms(times.work_ns())}};
  for (int edge = 0; edge < evict::kNumEdges; ++edge) {
    const auto at = static_cast<std::size_t>(edge);
    const std::string name(edge_name(static_cast<evict::Edge>(edge)));
    json["busy_ms"][name] = ms(times.busy_ns[at]);
    json["stall_ms"][name] = ms(times.stall_ns[at]);
  }
  return json;
}

Json parts_json(const StepEstimate& estimate) {
  Json parts = Json::array();
  for (const auto& part : estimate.parts)
    parts.push_back({{"name", part.name}, {"resource", part.resource}, {"ms", part.ms}});
  return parts;
}

}  // namespace

std::string plan_text(const Foretold& foretold, const TrainOptions& options, const Terminal& terminal) {
  std::string text = placement_text(foretold.plan, terminal) + "\n";
  if (foretold.plan.is_measured) text += model_data_text(foretold.plan) + "\n";
  text += updates_text(foretold.plan);
  text += smallest_text(foretold.plan);
  if (!foretold.estimate) return text;
  text.append("\n").append(activations_text(foretold.plan, options));
  const bool moves = foretold.costs->h2d_bytes_per_second > 0 || foretold.costs->nvme_bytes_per_second > 0;
  if (moves) text.append("\n").append(traffic_text(*foretold.costs));
  return text + "\n" + time_text(foretold, options);
}

std::string plan_json(const Foretold& foretold, const TrainOptions& options) {
  Json json;
  json["sufficient"] = foretold.refusal.empty();
  if (!foretold.refusal.empty()) json["refusal"] = foretold.refusal;
  json["plan"] = Json::parse(foretold.plan.to_json());
  json["tokens_per_step"] = options.tokens_per_step();
  if (foretold.estimate) {
    const auto& costs = *foretold.costs;
    json["rates"] = {{"h2d_bytes_per_second", costs.h2d_bytes_per_second},
                     {"d2h_bytes_per_second", costs.d2h_bytes_per_second},
                     {"nvme_bytes_per_second", costs.nvme_bytes_per_second},
                     {"update_params_per_second", costs.update_params_per_second}};
    json["parts"] = parts_json(*foretold.estimate);
    json["step_ms_overlapped"] = foretold.estimate->lower_ms();
    json["step_ms_in_sequence"] = foretold.estimate->upper_ms();
    if (foretold.simulation) json["foretold"] = times_json(foretold.simulation->times);
    json["slowest_resource"] = foretold.estimate->slowest_resource();
    json["fingerprint"] = printf_text("%016llx", static_cast<unsigned long long>(foretold.fingerprint));
  }
  return json.dump() + "\n";
}

}  // namespace asterias::tools
