// For programs: a line of JSON for each event, {"event": "plan"|"step"|"validation"|"sample"|"summary", ...}.
#include <nlohmann/json.hpp>

#include "tools/run_view.hpp"
#include "tools/standard_output.hpp"
#include "tools/text_sampler.hpp"

namespace asterias::tools {
namespace {

using Json = nlohmann::ordered_json;

void print_line(const Json& json) { print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"); }

Json event(const char* name) { return Json{{"event", name}}; }

// An event with the fields of an object that was written elsewhere.
Json event(const char* name, const std::string& fields) {
  Json json = event(name);
  json.update(Json::parse(fields));
  return json;
}

Json json_of(const Validation& validation) { return {{"step", validation.step}, {"loss", validation.loss}}; }

Json tiers_of(const RunEnd& end) {
  Json tiers = Json::object();
  for (const auto& tier : end.plan.tiers) {
    Json& json = tiers[std::string(tier_name(tier.tier))];
    if (tier.limit_bytes != UINT64_MAX) json["limit_bytes"] = tier.limit_bytes;
    json["predicted_peak_bytes"] = tier.predicted_peak_bytes;
    json["peak_bytes"] = end.totals.tiers[static_cast<std::size_t>(tier.tier)].peak_bytes;
    json["peak_activation_bytes"] = end.totals.peak_activation_bytes[static_cast<std::size_t>(tier.tier)];
  }
  return tiers;
}

Json moves_of(const RunTotals& totals) {
  return {{"h2d_bytes", totals.h2d_bytes},
          {"d2h_bytes", totals.d2h_bytes},
          {"nvme_read_bytes", totals.nvme_read_bytes},
          {"nvme_write_bytes", totals.nvme_write_bytes},
          {"stall_h2d_ms", totals.stall_h2d_ms},
          {"stall_d2h_ms", totals.stall_d2h_ms},
          {"stall_nvme_read_ms", totals.stall_nvme_read_ms},
          {"stall_nvme_write_ms", totals.stall_nvme_write_ms}};
}

Json steps_of(const RunTotals& totals) {
  Json json{{"steps", totals.num_steps},
            {"mean_step_ms", totals.mean_step_ms()},
            {"build_ms", totals.build_ms},
            {"forward_ms", totals.forward_ms},
            {"backward_ms", totals.backward_ms},
            {"update_ms", totals.update_ms},
            {"evaluation_ms", totals.evaluation_ms}};
  if (totals.num_steps > 0) {
    json["first_loss"] = totals.first_loss;
    json["last_loss"] = totals.last_loss;
    json["num_skipped"] = totals.num_skipped;
    json["loss_scale"] = totals.loss_scale;
  }
  if (totals.num_validations > 0) {
    json["best_validation"] = json_of(totals.best_validation);
    json["last_validation"] = json_of(totals.last_validation);
  }
  return json;
}

// One step at the rates that moves had.
Json foretold_of(const Simulation& foretold) {
  const auto& times = foretold.times;
  const auto ms = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e6; };
  return {{"step_ms", ms(times.step_ns)},
          {"processor_ms", ms(times.work_ns())},
          {"h2d_ms", ms(times.busy(evict::Edge::kH2d))},
          {"d2h_ms", ms(times.busy(evict::Edge::kD2h))},
          {"nvme_ms", ms(times.busy(evict::Edge::kNvmeRead) + times.busy(evict::Edge::kNvmeWrite))},
          {"stall_ms", ms(times.stalled_ns())},
          {"slowest_resource", times.slowest_resource()}};
}

class JsonView final : public RunView {
 public:
  void on_plan(const Plan& plan) override {
    Json json = event("plan", plan.to_json());
    json.erase("need_bytes_by_moment");  // thousands of numbers; the log folder has them
    print_line(json);
  }

  void on_step(const StepReport& report) override {
    Json json = event("step", report.stats.to_json());
    json["tokens_per_second"] = report.tokens_per_second;
    json["seconds_left"] = report.seconds_left;
    print_line(json);
  }

  void on_validation(const Validation& validation) override {
    Json json = event("validation");
    json.update(json_of(validation));
    print_line(json);
  }

  void on_sample(std::int64_t step, const std::string& bytes) override {
    Json json = event("sample");
    json["step"] = step;
    json["text"] = escaped_text(bytes);
    print_line(json);
  }

  void on_end(const RunEnd& end) override {
    Json json = event("summary");
    json["how"] = end.is_interrupted ? "interrupted" : "done";
    json["seconds"] = end.seconds;
    json["tiers"] = tiers_of(end);
    json["vm_hwm_bytes"] = end.peak_resident_bytes;
    json.update(moves_of(end.totals));
    json.update(steps_of(end.totals));
    if (end.foretold) json["foretold"] = foretold_of(*end.foretold);
    json["fingerprint"] = fingerprint_text(end.fingerprint);
    print_line(json);
  }
};

}  // namespace

std::unique_ptr<RunView> make_json_view() { return std::make_unique<JsonView>(); }

}  // namespace asterias::tools
