#include "runtime/telemetry.hpp"

#include <cmath>

#include <nlohmann/json.hpp>

#include "hybrid_adam/simd_target.hpp"

namespace asterias {
namespace {

using Json = nlohmann::ordered_json;

// JSON knows no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : nullptr; }

// Zeros are left out.
Json by_kind(const ContentBytes& bytes) {
  Json json = Json::object();
  for (int kind = 0; kind < kNumContentKinds; ++kind)
    if (const auto each = bytes[static_cast<std::size_t>(kind)]; each > 0)
      json[std::string(content_kind_name(static_cast<ContentKind>(kind)))] = each;
  return json;
}

Json limit(std::uint64_t bytes) { return bytes == UINT64_MAX ? Json(nullptr) : Json(bytes); }

Json tier_plan(const Plan::TierPlan& plan) {
  Json json;
  json["tier"] = tier_name(plan.tier);
  json["limit_bytes"] = limit(plan.limit_bytes);
  json["working_set_bytes"] = plan.working_set_bytes;
  json["working_set_at"] = plan.working_set_at;
  json["smallest_bytes"] = plan.smallest_bytes;
  json["predicted_peak_bytes"] = plan.predicted_peak_bytes;
  json["predicted_by_kind"] = by_kind(plan.predicted_by_kind);
  json["predicted_activation_bytes"] = plan.predicted_activation_bytes;
  return json;
}

}  // namespace

std::string update_simd_target() { return hybrid_adam::target_name(hybrid_adam::best_target()); }

std::string StepStats::to_json() const {
  Json json;
  json["step"] = step;
  json["loss"] = number(loss);
  json["lr"] = number(lr);
  json["grad_norm"] = number(grad_norm);
  json["warm_up"] = is_warm_up;
  json["loss_scale"] = loss_scale;
  json["skipped"] = skipped;
  json["num_skipped"] = num_skipped;
  json["passes"] = num_passes;
  json["operators"] = num_operators;
  json["wall_ms"] = number(wall_ms);
  json["forward_ms"] = number(forward_ms);
  json["backward_ms"] = number(backward_ms);
  json["update_ms"] = number(update_ms);
  json["stall_nvme_read_ms"] = number(stall_nvme_read_ms);
  json["stall_h2d_ms"] = number(stall_h2d_ms);
  json["stall_nvme_write_ms"] = number(stall_nvme_write_ms);
  json["stall_d2h_ms"] = number(stall_d2h_ms);
  json["stall_forward_ms"] = number(stall_forward_ms);
  json["stall_backward_ms"] = number(stall_backward_ms);
  json["stall_update_ms"] = number(stall_update_ms);
  json["stall_fetch_ms"] = number(stall_fetch_ms);
  json["stall_evict_ms"] = number(stall_evict_ms);
  json["busy_h2d_ms"] = number(busy_h2d_ms);
  json["busy_d2h_ms"] = number(busy_d2h_ms);
  json["busy_nvme_ms"] = number(busy_nvme_ms);
  for (int tier = 0; tier < kNumTiers; ++tier) {
    const auto& at = tiers[static_cast<std::size_t>(tier)];
    if (!at.present) continue;
    const std::string name(tier_name(static_cast<Tier>(tier)));
    json[name + "_used_bytes"] = at.used_bytes;
    json[name + "_peak_bytes"] = at.peak_bytes;
    if (at.limit_bytes != UINT64_MAX) json[name + "_limit_bytes"] = at.limit_bytes;
    json[name + "_by_kind"] = by_kind(at.bytes_by_kind);
    json[name + "_peak_by_kind"] = by_kind(at.peak_by_kind);
    json[name + "_peak_activation_bytes"] = at.peak_activation_bytes;
  }
  json["h2d_bytes"] = h2d_bytes;
  json["d2h_bytes"] = d2h_bytes;
  json["nvme_read_bytes"] = nvme_read_bytes;
  json["nvme_write_bytes"] = nvme_write_bytes;
  json["evictions_clean"] = evictions_clean;
  json["evictions_dirty"] = evictions_dirty;
  json["fetches"] = fetches;
  json["prefetch_hits"] = prefetch_hits;
  json["early_updates"] = early_updates;
  json["late_updates"] = late_updates;
  json["updates_on_gpu"] = updates_on_gpu;
  return json.dump();
}

std::string Plan::to_json() const {
  Json json;
  json["measured"] = is_measured;
  json["chunk_bytes"] = chunk_bytes;
  json["num_chunks"] = num_chunks;
  json["model_data_bytes"] = model_data_bytes;
  json["state_saved_bytes"] = state_saved_bytes;
  json["reused_bytes"] = reused_bytes;
  json["num_parameters"] = num_parameters;
  json["num_gpu_updates"] = num_gpu_updates;
  json["num_cpu_updates"] = num_cpu_updates;
  json["gpu_state_bytes"] = gpu_state_bytes;
  json["content_by_kind"] = by_kind(content_by_kind);
  json["tiers"] = Json::array();
  for (const auto& tier : tiers) json["tiers"].push_back(tier_plan(tier));
  json["predicted_h2d_bytes"] = predicted_h2d_bytes;
  json["predicted_d2h_bytes"] = predicted_d2h_bytes;
  json["predicted_nvme_read_bytes"] = predicted_nvme_read_bytes;
  json["predicted_nvme_write_bytes"] = predicted_nvme_write_bytes;
  json["need_bytes_by_moment"] = need_bytes_by_moment;
  return json.dump();
}

}  // namespace asterias
