// The engine a user holds: a module of type M, run under the runtime.
//
//   auto [engine, optimizer] = asterias::initialize_engine([] { return MyModel(options); }, config);
//   auto out = engine(batch.data);            // M's own forward: any arguments, any return type
//   auto loss = torch::cross_entropy_loss(out, batch.target);
//   engine.backward(loss);
//   optimizer.step();
//
// Every torch operation of the engine's thread is seen by the runtime from initialize_engine until the engine dies:
// losses, norms, item() and printing need no ceremony. Raw pointers do: hold engine.pin(tensor) while you use one, or
// asterias::pin(tensor) inside a module.
// Other threads hold engine.scope().
//
// Threading: all calls from the thread that made the engine, which must also destroy it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <torch/torch.h>

#include "runtime/engine_core.hpp"

namespace asterias {
namespace detail {

// The module type behind a holder (TORCH_MODULE) or a shared_ptr.
template <class T, class = void>
struct ModuleOf {
  static_assert(sizeof(T) == 0, "model_func must return a torch module holder or a std::shared_ptr to a module");
};
template <class T>
struct ModuleOf<std::shared_ptr<T>, std::enable_if_t<std::is_base_of_v<torch::nn::Module, T>>> {
  using type = T;
  static std::shared_ptr<T> get(const std::shared_ptr<T>& module) { return module; }
};
template <class T>
struct ModuleOf<T, std::enable_if_t<std::is_base_of_v<torch::nn::ModuleHolder<typename T::ContainedType>, T>>> {
  using type = typename T::ContainedType;
  static std::shared_ptr<type> get(const T& holder) { return holder.ptr(); }
};

// A holder looks like a function, too: calling it calls its module's forward.
template <class T>
inline constexpr bool kIsModule = requires {
  typename T::ContainedType;
};
template <class T>
inline constexpr bool kIsModule<std::shared_ptr<T>> = true;

// Folds what should repeat from call to call: shapes, dtypes, plain numbers. Anything else is taken as equal, and a
// difference that matters is noticed operator by operator.
class Signature {
 public:
  std::uint64_t value() const { return value_; }

  void add(const torch::Tensor& tensor) {
    if (!tensor.defined()) return fold(1);
    fold(static_cast<std::uint64_t>(tensor.scalar_type()) + 2);
    for (const auto size : tensor.sizes()) fold(static_cast<std::uint64_t>(size));
  }
  template <class T>
  void add(const std::vector<T>& list) {
    fold(list.size());
    for (const auto& element : list) add(element);
  }
  template <class T>
  void add(const std::optional<T>& value) {
    fold(value.has_value());
    if (value) add(*value);
  }
  template <class... T>
  void add(const std::tuple<T...>& values) {
    std::apply([this](const auto&... value) { (add(value), ...); }, values);
  }
  template <class T>
  void add(const T& value) {
    if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) fold(static_cast<std::uint64_t>(value));
  }

 private:
  void fold(std::uint64_t value) { value_ = (value_ ^ value) * 0x100000001b3ULL; }  // FNV-1a
  std::uint64_t value_ = 0xcbf29ce484222325ULL;
};

// A floating tensor as the module's precision wants it.
inline torch::Tensor cast_input(const torch::Tensor& tensor, const runtime::Precision& precision) {
  return tensor.defined() ? tensor.to(precision.cast(tensor.scalar_type())) : tensor;
}
template <class T>
std::vector<T> cast_input(const std::vector<T>& list, const runtime::Precision& precision);
template <class T>
std::optional<T> cast_input(const std::optional<T>& value, const runtime::Precision& precision);
template <class... T>
std::tuple<T...> cast_input(const std::tuple<T...>& values, const runtime::Precision& precision);
template <class T>
T cast_input(const T& value, const runtime::Precision&) {
  return value;
}
template <class T>
std::vector<T> cast_input(const std::vector<T>& list, const runtime::Precision& precision) {
  std::vector<T> result;
  for (const auto& element : list) result.push_back(cast_input(element, precision));
  return result;
}
template <class T>
std::optional<T> cast_input(const std::optional<T>& value, const runtime::Precision& precision) {
  return value ? std::optional<T>(cast_input(*value, precision)) : value;
}
template <class... T>
std::tuple<T...> cast_input(const std::tuple<T...>& values, const runtime::Precision& precision) {
  return std::apply([&](const auto&... value) { return std::tuple<T...>(cast_input(value, precision)...); }, values);
}

// The types in which cast_input finds tensors. Anything else reaches forward as it is, uncopied.
template <class T>
inline constexpr bool kHoldsTensors = std::is_same_v<T, torch::Tensor>;
template <class T>
inline constexpr bool kHoldsTensors<std::vector<T>> = kHoldsTensors<T>;
template <class T>
inline constexpr bool kHoldsTensors<std::optional<T>> = kHoldsTensors<T>;
template <class... T>
inline constexpr bool kHoldsTensors<std::tuple<T...>> = (kHoldsTensors<T> || ...);

// One argument on its way to forward: itself, or its cast copy while this lives.
template <class Arg>
class Input {
 public:
  Input(std::remove_reference_t<Arg>& argument, const runtime::Precision& precision) : argument_(argument) {
    if constexpr (kHoldsTensors<std::remove_cvref_t<Arg>>)
      if (precision.half()) cast_.emplace(cast_input(argument, precision));
  }
  Arg&& get() {
    if constexpr (kHoldsTensors<std::remove_cvref_t<Arg>>)
      if (cast_) return static_cast<Arg&&>(*cast_);
    return static_cast<Arg&&>(argument_);
  }

 private:
  std::remove_reference_t<Arg>& argument_;
  [[no_unique_address]] std::conditional_t<kHoldsTensors<std::remove_cvref_t<Arg>>,
                                           std::optional<std::remove_cvref_t<Arg>>, std::monostate>
      cast_;
};

}  // namespace detail

template <class M>
class Engine {
 public:
  explicit Engine(std::unique_ptr<EngineCore> core) : core_(std::move(core)) {}

  // Runs the module's forward. In gradient mode this opens a pass, or goes on with the open one, until backward. In
  // fp16 and bf16, floating tensors among the arguments, also in vectors, optionals and tuples, are cast first.
  template <class... Args>
  decltype(auto) operator()(Args&&... args) {
    detail::Signature signature;
    (signature.add(args), ...);
    const EngineCore::Forward pass(*core_, signature.value());
    return module()->forward(detail::Input<Args>(args, core_->precision()).get()...);
  }

  // Runs anything else under the runtime, as operator() runs forward: other methods of the module, several modules, a
  // custom loss.
  template <class F>
  decltype(auto) run(F&& function) {
    const EngineCore::Forward pass(*core_, 0);
    return std::forward<F>(function)();
  }

  // Computes gradients; the same arguments as torch::Tensor::backward. Several calls before optimizer.step()
  // accumulate. In fp16 the gradients in .grad carry the loss scale, and this is the only way to them: a StateError
  // comes from loss.backward(). Throws BudgetError after the warm-up pass if it did not fit: nothing has been updated
  // then.
  void backward(const torch::Tensor& loss, const torch::Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) {
    core_->backward(loss, gradient, retain_graph, create_graph);
  }

  void train(bool on = true) { core_->module()->train(on); }
  void eval() { core_->module()->eval(); }

  // Where the module's tensors are, and its inputs must be: a card, or the CPU, also on the simulated device.
  torch::Device device() const { return core_->shared_runtime()->device(); }

  std::shared_ptr<M> module() const { return std::static_pointer_cast<M>(core_->module()); }

  // Copies out the current value (of the fp32 master, where there is one), the last final gradient, unscaled and before
  // gradient_clipping, both in fp32, or a buffer, as a plain CPU tensor of the same shape. StateError if there is none
  // of that name.
  torch::Tensor parameter(const std::string& name) { return core_->parameter(name); }
  torch::Tensor gradient(const std::string& name) { return core_->gradient(name); }
  torch::Tensor buffer(const std::string& name) { return core_->buffer(name); }

  // Keeps a tensor's bytes in place and its data_ptr() valid while the returned object lives. What is pinned counts
  // against the compute tier's limit.
  [[nodiscard]] runtime::Pin pin(const torch::Tensor& tensor) const { return pin(std::vector<torch::Tensor>{tensor}); }
  [[nodiscard]] runtime::Pin pin(const std::vector<torch::Tensor>& tensors) const {
    return {core_->shared_runtime()->shared_residency(), tensors};
  }

  // Lets another thread use the engine's tensors while the returned object lives there.
  [[nodiscard]] static runtime::Scope scope() { return {}; }

  // The factor on the losses given to backward from now on; 1 unless fp16 is set.
  double loss_scale() const { return core_->loss_scale(); }

  // Hashes names, shapes and bits of all parameters and buffers, and of the masters; without masters it equals
  // asterias::fingerprint of the same module without an engine.
  std::uint64_t fingerprint() { return core_->fingerprint(); }

  // What the last step did, and where things lie.
  const StepStats& stats() const { return core_->stats(); }
  // What has been done since the last step: times, stalls and moves, not yet the tiers.
  StepStats stats_so_far() const { return core_->stats_so_far(); }
  Plan plan() const { return core_->plan(); }
  // Foretells how long a later step takes, and what it waits for, when moves take these rates: from the passes before
  // the first update, and from what operators and updates have taken so far (evict/simulator.hpp). Nothing where those
  // passes were too long to be written down.
  std::optional<Simulation> simulate(const MoveRates& rates) const { return core_->simulate(rates); }
  // The passes themselves, to be played elsewhere (bench/replay).
  std::optional<RecordedStep> recorded_step() const { return core_->recorded_step(); }
  const EngineConfig& config() const { return core_->config(); }

  // Records what happens from now on, to the microsecond: costs a few percent of a step, and some memory. Engines of a
  // process share one recording. StateError if one is running.
  void start_trace() { core_->start_trace(); }
  // Ends the recording and returns it, the begun step included if anything has happened in it. RunLog writes it as a
  // Chrome trace. StateError if none is running.
  StepTrace stop_trace() { return core_->stop_trace(); }

 private:
  std::unique_ptr<EngineCore> core_;
};

// Pins as Engine::pin does, where there is no engine at hand: in a module's constructor or its forward. Pins nothing
// while there is no engine at all, so that the module works without one.
[[nodiscard]] inline runtime::Pin pin(const torch::Tensor& tensor) {
  const auto runtime = runtime::Runtime::current();
  return {runtime ? runtime->shared_residency() : nullptr, {tensor}};
}

template <class M>
struct Initialized {
  Engine<M> engine;
  Optimizer& optimizer;  // lives as long as the engine
};

// Makes an engine for a model and its optimizer.
//
// `model` is a function that returns a module holder or a std::shared_ptr to a module (preferred: parameters then never
// need to fit the compute tier at once), or such a module itself. `group_of` puts parameters into
// config.optimizer.param_groups by code instead of by name patterns. Throws ConfigError, BudgetError when the model
// alone cannot fit, IoError when the swap files cannot be made.
template <class F>
auto initialize_engine(F&& model, const EngineConfig& config, const GroupOf& group_of = nullptr) {
  const auto make = [&] {
    if constexpr (detail::kIsModule<std::remove_cvref_t<F>>)
      return model;
    else
      return model();
  };
  using Traits = detail::ModuleOf<std::remove_cvref_t<decltype(make())>>;
  using M = typename Traits::type;
  auto core = std::make_unique<EngineCore>(
      config, [&]() -> std::shared_ptr<torch::nn::Module> { return Traits::get(make()); }, group_of);
  Optimizer& optimizer = core->optimizer();
  return Initialized<M>{Engine<M>(std::move(core)), optimizer};
}

}  // namespace asterias
