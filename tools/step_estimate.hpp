// What a step will take, from what was measured: a sum per resource, and the slowest of them.
//
// Plain arithmetic: who measures is plan_command.cpp and the probes. The model behind it: what goes over one resource
// is added (reads and writes of one drive; forward, backward and update on the same processor), resources work at the
// same time. So the slowest resource is a lower bound, which a run reaches when everything is fetched and written
// ahead, and the sum of all is what it takes when nothing is.
//
// Invariants
//   * lower_ms() <= upper_ms(); both are finite for finite inputs and rates above 0.
//   * A rate of 0 means that the resource is not there: bytes over it are an error of the caller and count nothing.
//
// Threading: plain values. Units: in the names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace asterias::tools {

struct StepCosts {
  // Of one pass, without what it stood still.
  double forward_ms = 0;
  double backward_ms = 0;
  std::int64_t passes = 1;  // per step
  // Of the update, all lists in DRAM.
  std::uint64_t num_parameters = 0;
  double update_params_per_second = 0;
  double norm_params_per_second = 0;  // of the gradient norm; 0: no clipping
  // Bytes per step in steady state, and what carries them.
  std::uint64_t h2d_bytes = 0, d2h_bytes = 0, nvme_read_bytes = 0, nvme_write_bytes = 0;
  double h2d_bytes_per_second = 0, d2h_bytes_per_second = 0, nvme_bytes_per_second = 0;
  bool link_is_processor = false;  // copies over the link are memcpy: they cost the processor, not a link
};

// Something a step does, and the resource it does it on.
struct StepPart {
  std::string name;  // "forward", "NVMe read"
  std::string resource;
  double ms;
};

struct StepEstimate {
  std::vector<StepPart> parts;  // in the order of the step; nothing that takes no time

  // Of one resource; 0 when nothing uses it.
  double resource_ms(const std::string& resource) const;
  // The resource that takes longest; empty without parts. The first of equals.
  std::string slowest_resource() const;

  double lower_ms() const;  // everything overlaps that can
  double upper_ms() const;  // nothing overlaps
};

StepEstimate estimate_step(const StepCosts& costs);

}  // namespace asterias::tools
