// The part of asterias::checkpoint that knows autograd: one node that runs a function again in backward.
//
// Not a policy: what is recomputed is the author's choice, call by call. Called by include/asterias/checkpoint.h only,
// which turns any arguments and results into lists of tensors. Needs no engine.
//
// Threading: thread-safe; the function runs in the calling thread and in backward's.
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace asterias::runtime {

// Maps input tensors to output tensors, all defined.
using TensorFunction = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// Runs `function` outside gradient mode and returns its outputs as those of one autograd node, whose backward runs it
// again. REQUIRES: gradient mode. Throws StateError if it writes one of its inputs.
std::vector<at::Tensor> run_recomputed(TensorFunction function, const std::vector<at::Tensor>& inputs);

// A defined tensor without elements: stands where a tensor will be put.
const at::Tensor& placeholder();

}  // namespace asterias::runtime
