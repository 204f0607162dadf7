#include "runtime/recompute.hpp"

#include <array>
#include <cstring>
#include <mutex>
#include <string>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/torch.h>

#include "base/error.hpp"
#include "runtime/runtime.hpp"

namespace asterias::runtime {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A generator's state, kept out of tensors: those could be absent when the generator reads them by pointer.
class GeneratorState {
 public:
  explicit GeneratorState(const at::Generator& generator) : generator_(generator) {
    const std::lock_guard lock(generator_.mutex());
    const at::Tensor state = generator_.get_state();
    bytes_.resize(state.nbytes());
    std::memcpy(bytes_.data(), state.const_data_ptr(), bytes_.size());
  }

  void set() const {
    auto generator = generator_;
    const std::lock_guard lock(generator.mutex());
    auto bytes = bytes_;
    generator.set_state(torch::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size())}, torch::kByte));
  }

 private:
  at::Generator generator_;
  std::vector<std::uint8_t> bytes_;
};

// The generators that operators draw from: the CPU's, and that of the card that computes.
class RandomState {
 public:
  RandomState() {
    states_.emplace_back(at::detail::getDefaultCPUGenerator());
    if (const auto runtime = Runtime::current(); runtime && !runtime->device().is_cpu())
      states_.emplace_back(at::globalContext().defaultGenerator(runtime->device()));
  }

  void set() const {
    for (const auto& state : states_) state.set();
  }

 private:
  std::vector<GeneratorState> states_;
};

// Which casts the operators of this thread make.
class AutocastState {
 public:
  AutocastState() : caches_(at::autocast::is_autocast_cache_enabled()) {
    for (std::size_t i = 0; i < kDevices.size(); ++i)
      devices_[i] = {at::autocast::is_autocast_enabled(kDevices[i]), at::autocast::get_autocast_dtype(kDevices[i])};
  }

  void set() const {
    at::autocast::set_autocast_cache_enabled(caches_);
    for (std::size_t i = 0; i < kDevices.size(); ++i) {
      at::autocast::set_autocast_enabled(kDevices[i], devices_[i].enabled);
      at::autocast::set_autocast_dtype(kDevices[i], devices_[i].dtype);
    }
  }

 private:
  struct OfDevice {
    bool enabled = false;
    at::ScalarType dtype = at::kFloat;
  };
  static constexpr std::array kDevices{at::kCPU, at::kCUDA};
  std::array<OfDevice, kDevices.size()> devices_;
  bool caches_;
};

// Puts the surroundings of the first run back for the second, and the present ones in the end.
class Surroundings {
 public:
  Surroundings(const RandomState& random, const AutocastState& autocast) {
    at::autocast::increment_nesting();
    random.set();
    autocast.set();
  }
  Surroundings(const Surroundings&) = delete;
  Surroundings& operator=(const Surroundings&) = delete;
  ~Surroundings() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    autocast_.set();
    random_.set();
  }

 private:
  const RandomState random_;
  const AutocastState autocast_;
};

// What the second run needs besides its inputs.
struct Segment : torch::CustomClassHolder {
  explicit Segment(TensorFunction run) : function(std::move(run)) {}

  TensorFunction function;
  RandomState random;
  AutocastState autocast;
  std::vector<std::vector<std::int64_t>> output_sizes;
};

[[noreturn]] void refuse(const std::string& why) {
  throw StateError(StateError::Cause::kMisuse, "asterias::checkpoint: " + why);
}

constexpr const char* kSegment = "segment";

struct Recompute : torch::autograd::Function<Recompute> {
  // `anchor` requires gradients, so that the node is part of the graph even if no input does: parameters may.
  static variable_list forward(AutogradContext* context, const c10::intrusive_ptr<Segment>& segment,
                               at::TensorList inputs, const at::Tensor& anchor) {
    (void)anchor;
    std::vector<std::uint32_t> versions;
    for (const auto& input : inputs) versions.push_back(input._version());
    auto outputs = segment->function(inputs.vec());
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i]._version() != versions[i])
        refuse("the function wrote its input tensor number " + std::to_string(i) +
               " in place; it could not be run again from it. Clone it first");
    variable_list non_differentiable;
    for (const auto& output : outputs) {
      segment->output_sizes.push_back(output.sizes().vec());
      if (!torch::autograd::isDifferentiableType(output.scalar_type())) non_differentiable.push_back(output);
    }
    context->mark_non_differentiable(non_differentiable);
    context->set_materialize_grads(false);
    context->save_for_backward(inputs.vec());
    context->saved_data[kSegment] = c10::IValue::make_capsule(segment);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    if (torch::GradMode::is_enabled()) refuse("backward with create_graph cannot go through what is recomputed");
    if (!torch::autograd::Engine::get_default_engine().is_checkpoint_valid())
      refuse(
          "not compatible with torch::autograd::grad or backward with a list of inputs; call backward() on the loss");
    const auto segment = c10::static_intrusive_pointer_cast<Segment>(context->saved_data[kSegment].toCapsule());
    const auto inputs = detached(context->get_saved_variables());
    const torch::AutoGradMode with_gradients(true);
    auto outputs = run_again(*segment, inputs);
    propagate(std::move(outputs), gradients);
    variable_list results(inputs.size() + 2);  // none for the segment, none for the anchor
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].requires_grad()) results[i + 1] = inputs[i].grad();
    return results;
  }

 private:
  static variable_list detached(const variable_list& saved) {
    variable_list inputs;
    for (const auto& input : saved) inputs.push_back(input.detach().set_requires_grad(input.requires_grad()));
    return inputs;
  }

  static variable_list run_again(const Segment& segment, const variable_list& inputs) {
    const Surroundings first(segment.random, segment.autocast);
    auto outputs = segment.function(inputs);
    bool equal = outputs.size() == segment.output_sizes.size();
    for (std::size_t i = 0; equal && i < outputs.size(); ++i) equal = outputs[i].sizes() == segment.output_sizes[i];
    if (!equal) refuse("the function gave tensors of other number or shapes when it was run again");
    return outputs;
  }

  // Runs backward from those outputs that take part in it, down to the detached inputs and the parameters.
  static void propagate(variable_list outputs, const variable_list& gradients) {
    variable_list roots, root_gradients;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!gradients[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(std::move(outputs[i]));
      root_gradients.push_back(gradients[i]);
    }
    outputs.clear();
    const torch::AutoGradMode without_graph(false);
    if (!roots.empty()) torch::autograd::backward(roots, root_gradients);
  }
};

}  // namespace

std::vector<at::Tensor> run_recomputed(TensorFunction function, const std::vector<at::Tensor>& inputs) {
  const auto segment = c10::make_intrusive<Segment>(std::move(function));
  const auto anchor = torch::empty({0}, torch::requires_grad());
  return Recompute::apply(segment, at::TensorList(inputs), anchor);
}

// Made without an operator: one that only the first pass has would make it another pass than those that follow.
const at::Tensor& placeholder() {
  static const at::Tensor tensor(at::detail::empty_cpu({0}, at::kFloat));
  return tensor;
}

}  // namespace asterias::runtime
