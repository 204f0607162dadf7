// Operators on embedding tables that stay in DRAM (use_cpu_embedding): they run there, by the CPU's kernels, and only
// the rows that are looked up cross the link.
//
// A table is the weight of a torch::nn::Embedding without sparse gradients. Where it is used otherwise, as a tied head
// does, it goes up as any parameter; what reaches its gradient from there comes down and is added here.
//
// Threading: thread-safe, as operators are.
#pragma once

#include <memory>

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include "runtime/operator_info.hpp"
#include "runtime/runtime.hpp"

namespace asterias::runtime {

bool runs_on_host(const Runtime& runtime, const OperatorInfo& info, c10::ArrayRef<c10::IValue> arguments);

// Calls the operator on what its arguments hold on the cpu tier and puts its outputs, of the device that computes, in
// their place. Throws what the kernel throws, OutOfMemory, CudaError. REQUIRES: the residents that it names are pinned
// on the cpu tier.
void run_on_host(const std::shared_ptr<Runtime>& runtime, const c10::OperatorHandle& op, const OperatorInfo& info,
                 torch::jit::Stack& stack);

}  // namespace asterias::runtime
