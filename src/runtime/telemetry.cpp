#include "runtime/telemetry.hpp"

#include <cmath>

#include <nlohmann/json.hpp>

#include "hybrid_adam/simd_target.hpp"

namespace asterias {
namespace {

// JSON knows no NaN.
nlohmann::ordered_json number(double value) { return std::isfinite(value) ? nlohmann::ordered_json(value) : nullptr; }

}  // namespace

std::string update_simd_target() { return hybrid_adam::target_name(hybrid_adam::best_target()); }

std::string StepStats::to_json() const {
  nlohmann::ordered_json json;
  json["step"] = step;
  json["loss"] = number(loss);
  json["lr"] = number(lr);
  json["grad_norm"] = number(grad_norm);
  json["warm_up"] = is_warm_up;
  json["passes"] = num_passes;
  json["operators"] = num_operators;
  json["forward_ms"] = number(forward_ms);
  json["backward_ms"] = number(backward_ms);
  json["update_ms"] = number(update_ms);
  json["stall_fetch_ms"] = number(stall_fetch_ms);
  json["stall_evict_ms"] = number(stall_evict_ms);
  for (int tier = 0; tier < kNumTiers; ++tier) {
    const auto& at = tiers[static_cast<std::size_t>(tier)];
    if (!at.present) continue;
    const std::string name(tier_name(static_cast<Tier>(tier)));
    json[name + "_used_bytes"] = at.used_bytes;
    json[name + "_peak_bytes"] = at.peak_bytes;
    if (at.limit_bytes != UINT64_MAX) json[name + "_limit_bytes"] = at.limit_bytes;
  }
  json["h2d_bytes"] = h2d_bytes;
  json["d2h_bytes"] = d2h_bytes;
  json["nvme_read_bytes"] = nvme_read_bytes;
  json["nvme_write_bytes"] = nvme_write_bytes;
  json["evictions_clean"] = evictions_clean;
  json["evictions_dirty"] = evictions_dirty;
  json["fetches"] = fetches;
  json["prefetch_hits"] = prefetch_hits;
  return json.dump();
}

}  // namespace asterias
