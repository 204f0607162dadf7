#include "tools/step_estimate.hpp"

#include <algorithm>

namespace asterias::tools {
namespace {

constexpr const char* kProcessor = "processor";
constexpr const char* kDrive = "drive";

double ms_for(std::uint64_t amount, double per_second) {
  return per_second > 0 ? static_cast<double>(amount) / per_second * 1e3 : 0;
}

}  // namespace

double StepEstimate::resource_ms(const std::string& resource) const {
  double sum = 0;
  for (const auto& part : parts)
    if (part.resource == resource) sum += part.ms;
  return sum;
}

std::string StepEstimate::slowest_resource() const {
  std::string slowest;
  double most = 0;
  for (const auto& part : parts)
    if (const double ms = resource_ms(part.resource); ms > most) {
      most = ms;
      slowest = part.resource;
    }
  return slowest;
}

double StepEstimate::lower_ms() const { return resource_ms(slowest_resource()); }

double StepEstimate::upper_ms() const {
  double sum = 0;
  for (const auto& part : parts) sum += part.ms;
  return sum;
}

StepEstimate estimate_step(const StepCosts& costs) {
  StepEstimate estimate;
  const auto add = [&](const char* name, const char* resource, double ms) {
    if (ms > 0) estimate.parts.push_back({name, resource, ms});
  };
  const auto passes = static_cast<double>(costs.passes);
  add("forward", kProcessor, costs.forward_ms * passes);
  add("backward", kProcessor, costs.backward_ms * passes);
  add("gradient norm", kProcessor, ms_for(costs.num_parameters, costs.norm_params_per_second));
  add("update", kProcessor, ms_for(costs.num_parameters, costs.update_params_per_second));
  add("H2D", costs.link_is_processor ? kProcessor : "link to the accelerator",
      ms_for(costs.h2d_bytes, costs.h2d_bytes_per_second));
  add("D2H", costs.link_is_processor ? kProcessor : "link from the accelerator",
      ms_for(costs.d2h_bytes, costs.d2h_bytes_per_second));
  add("NVMe read", kDrive, ms_for(costs.nvme_read_bytes, costs.nvme_bytes_per_second));
  add("NVMe write", kDrive, ms_for(costs.nvme_write_bytes, costs.nvme_bytes_per_second));
  return estimate;
}

}  // namespace asterias::tools
