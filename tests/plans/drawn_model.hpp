// A model of random kind and shape, with the loss of a batch: what random plans train.
//
// The first sample is the largest in every respect (longest, all branches taken), because a later one that is larger
// than the warm-up may rightly end as OutOfMemory (docs/errors.md).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "tests/plans/draw.hpp"

namespace asterias::plans {

struct DrawnModel {
  nlohmann::ordered_json words;  // "kind", and the sizes that were drawn
  std::function<std::shared_ptr<torch::nn::Module>()> make;
  // Computes the loss of batch number `sample` (which seeds its data), shortened to `share` of its size where it can
  // be. Inputs are test::case_device's.
  std::function<torch::Tensor(torch::nn::Module&, int sample, double share)> loss;
  bool has_batch_norms = false, has_layer_norms = false;  // their parameters are named "*norm*"
  bool is_recurrent = false;                              // has an LSTM or a GRU
};

// Up to about `most_elements` parameters.
DrawnModel draw_model(Draw& draw, std::int64_t most_elements);

}  // namespace asterias::plans
