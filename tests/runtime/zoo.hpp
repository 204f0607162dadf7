// The modules of the parity matrix, each with a training step as a user would write it. Sizes are chosen so that
// activations and weights are larger than what the runtime leaves alone (4 KiB), and small enough for a test.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

namespace asterias::test {

// Where plain modules are trained, and where inputs are made.
inline torch::Device case_device = torch::kCPU;

using ModulePtr = std::shared_ptr<torch::nn::Module>;

// What a case needs to take a training step, plain or under an engine.
struct Step {
  torch::nn::Module& module;
  int iteration;
  // Runs forward code: directly, or through engine.run.
  std::function<torch::Tensor(const std::function<torch::Tensor()>&)> forward;
  std::function<void(const torch::Tensor& loss, bool retain_graph, bool create_graph)> backward;
  std::vector<double>& observed;            // whatever else must be equal
  torch::ScalarType dtype = torch::kFloat;  // of the module's inputs

  // Draws an input, the same for the same seed up to rounding.
  torch::Tensor normal(std::vector<std::int64_t> sizes, int seed) const;
};

struct Case {
  std::string name;
  std::function<ModulePtr()> make;
  std::function<void(Step&)> step;  // forward and backward of one step, up to the optimizer
};

// All cases of the matrix.
std::vector<Case> zoo();

}  // namespace asterias::test
