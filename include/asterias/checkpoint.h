// Activation checkpointing (Chen et al. 2016): a part of a model whose activations are not kept, but computed again
// when backward needs them.
//
//   x = asterias::checkpoint([&](torch::Tensor x) { return block(x); }, x);
//
// Works under an engine and without one; nested; with any inputs that are tensors, or vectors, optionals, pairs and
// tuples of them, or plain values, and any result made of the same. Same bits as without (docs/design.md, "Recompute",
// has the one exception). Gradients flow to parameters that `function` uses, whether or not an input requires
// gradients.
//
// Limits, each a StateError: `function` must not write its inputs in place; backward(create_graph) cannot go through;
// it must give the same number and shapes of tensors again. torch::autograd::grad and backward with an `inputs` list
// are refused by torch ("not compatible").
//
// Threading: `function` runs in the caller's thread, and again in the thread that autograd uses for backward.
#pragma once

#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "runtime/recompute.hpp"

namespace asterias {
namespace detail {

// Calls `visit(torch::Tensor&)` for every defined tensor within `value`, in order. Anything unknown holds none.
template <class Visit>
void visit_tensors(torch::Tensor& value, const Visit& visit) {
  if (value.defined()) visit(value);
}
template <class T, class Visit>
void visit_tensors(std::vector<T>& values, const Visit& visit);
template <class T, class Visit>
void visit_tensors(std::optional<T>& value, const Visit& visit);
template <class A, class B, class Visit>
void visit_tensors(std::pair<A, B>& values, const Visit& visit);
template <class... T, class Visit>
void visit_tensors(std::tuple<T...>& values, const Visit& visit);
template <class T, class Visit>
void visit_tensors(T&, const Visit&) {}

template <class T, class Visit>
void visit_tensors(std::vector<T>& values, const Visit& visit) {
  for (auto& value : values) visit_tensors(value, visit);
}
template <class T, class Visit>
void visit_tensors(std::optional<T>& value, const Visit& visit) {
  if (value) visit_tensors(*value, visit);
}
template <class A, class B, class Visit>
void visit_tensors(std::pair<A, B>& values, const Visit& visit) {
  visit_tensors(values.first, visit);
  visit_tensors(values.second, visit);
}
template <class... T, class Visit>
void visit_tensors(std::tuple<T...>& values, const Visit& visit) {
  std::apply([&](auto&... value) { (visit_tensors(value, visit), ...); }, values);
}

// Lists the tensors within `value`, in order.
template <class T>
std::vector<torch::Tensor> list_tensors(T& value) {
  std::vector<torch::Tensor> tensors;
  visit_tensors(value, [&](torch::Tensor& tensor) { tensors.push_back(tensor); });
  return tensors;
}

template <class T>
void put_tensors(T& value, const std::vector<torch::Tensor>& tensors) {
  auto next = tensors.begin();
  visit_tensors(value, [&](torch::Tensor& tensor) { tensor = *next++; });
}

}  // namespace detail

// Computes `function(arguments...)` without keeping what backward will need: it is computed again then, from the same
// arguments, random numbers and autocast settings. Outside gradient mode it is an ordinary call. Costs one more forward
// of `function`; keeps its arguments, its result and 5 KB.
//
// `function` is copied and called with lvalues of the arguments' decayed types.
template <class F, class... Args>
auto checkpoint(F&& function, Args&&... arguments) {
  using Arguments = std::tuple<std::decay_t<Args>...>;
  using Result = std::decay_t<std::invoke_result_t<std::decay_t<F>&, std::decay_t<Args>&...>>;
  Arguments given(std::forward<Args>(arguments)...);
  if (!torch::GradMode::is_enabled()) return Result(std::apply(function, given));

  auto inputs = detail::list_tensors(given);
  // What stays in the closure until backward must not hold a tensor alive that autograd could let go.
  detail::put_tensors(given, std::vector<torch::Tensor>(inputs.size(), runtime::placeholder()));
  auto result = std::make_shared<std::optional<Result>>();
  const auto run = [function = std::decay_t<F>(std::forward<F>(function)), given = std::move(given),
                    result = std::weak_ptr(result)](const std::vector<torch::Tensor>& tensors) mutable {
    auto now = given;
    detail::put_tensors(now, tensors);
    Result value = std::apply(function, now);
    auto outputs = detail::list_tensors(value);
    if (const auto first = result.lock()) *first = std::move(value);  // gone when backward runs
    return outputs;
  };
  const auto outputs = runtime::run_recomputed(run, inputs);
  detail::put_tensors(**result, outputs);
  return Result(std::move(**result));
}

}  // namespace asterias
