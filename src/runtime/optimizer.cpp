#include "runtime/optimizer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <tuple>

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "runtime/engine_core.hpp"
#include "runtime/name_pattern.hpp"

namespace asterias {
namespace {

using hybrid_adam::Algorithm;
using hybrid_adam::HyperParameters;

constexpr double kClipEpsilon = 1e-6;  // torch/csrc/api/include/torch/nn/utils/clip_grad.h

Algorithm algorithm_of(OptimizerType type) {
  switch (type) {
    case OptimizerType::kAdam: return Algorithm::kAdam;
    case OptimizerType::kAdamW: return Algorithm::kAdamW;
    case OptimizerType::kSgd: return Algorithm::kSgd;
  }
  return Algorithm::kAdamW;
}

// Fills torch's options of one type from what the configuration sets, on top of `base`.
template <class AdamLike>
AdamLike adam_options(const OptimizerParams& params, AdamLike base) {
  if (params.lr) base.lr(*params.lr);
  if (params.betas) base.betas(std::make_tuple(params.betas->at(0), params.betas->at(1)));
  if (params.eps) base.eps(*params.eps);
  if (params.weight_decay) base.weight_decay(*params.weight_decay);
  return base;
}

torch::optim::SGDOptions sgd_options(const OptimizerParams& params, torch::optim::SGDOptions base) {
  if (params.lr) base.lr(*params.lr);
  if (params.momentum) base.momentum(*params.momentum);
  if (params.dampening) base.dampening(*params.dampening);
  if (params.weight_decay) base.weight_decay(*params.weight_decay);
  if (params.nesterov) base.nesterov(*params.nesterov);
  return base;
}

template <class Options>
std::unique_ptr<torch::optim::OptimizerOptions> boxed(Options options) {
  return std::make_unique<Options>(std::move(options));
}

std::unique_ptr<torch::optim::OptimizerOptions> make_options(OptimizerType type, const OptimizerParams& common,
                                                             const OptimizerParams& own) {
  constexpr double kDefaultLr = 1e-3;
  switch (type) {
    case OptimizerType::kAdam:
      return boxed(adam_options(own, adam_options(common, torch::optim::AdamOptions(kDefaultLr))));
    case OptimizerType::kAdamW:
      return boxed(adam_options(own, adam_options(common, torch::optim::AdamWOptions(kDefaultLr))));
    case OptimizerType::kSgd: return boxed(sgd_options(own, sgd_options(common, torch::optim::SGDOptions(kDefaultLr))));
  }
  return nullptr;
}

template <class AdamLike>
HyperParameters read_adam(const AdamLike& options) {
  if (options.amsgrad()) throw StateError(StateError::Cause::kMisuse, "amsgrad is not supported; leave it false");
  HyperParameters hyper;
  hyper.lr = options.lr();
  std::tie(hyper.beta1, hyper.beta2) = options.betas();
  hyper.eps = options.eps();
  hyper.weight_decay = options.weight_decay();
  return hyper;
}

HyperParameters read_options(const torch::optim::OptimizerOptions& options) {
  if (const auto* adam = dynamic_cast<const torch::optim::AdamOptions*>(&options)) return read_adam(*adam);
  if (const auto* adamw = dynamic_cast<const torch::optim::AdamWOptions*>(&options)) return read_adam(*adamw);
  const auto& sgd = dynamic_cast<const torch::optim::SGDOptions&>(options);
  HyperParameters hyper;
  hyper.lr = sgd.lr();
  hyper.momentum = sgd.momentum();
  hyper.dampening = sgd.dampening();
  hyper.weight_decay = sgd.weight_decay();
  hyper.nesterov = sgd.nesterov();
  return hyper;
}

int group_by_pattern(const OptimizerConfig& config, const std::string& name) {
  for (std::size_t group = 0; group < config.param_groups.size(); ++group)
    if (runtime::matches_any(config.param_groups[group].match, name)) return static_cast<int>(group);
  return -1;
}

// The index of the group in config.param_groups, or -1.
int group_of_parameter(const OptimizerConfig& config, const GroupOf& group_of, const std::string& name,
                       const torch::Tensor& parameter) {
  const int group = group_of ? group_of(name, parameter) : group_by_pattern(config, name);
  if (group < -1 || group >= static_cast<int>(config.param_groups.size()))
    throw ConfigError("param group " + std::to_string(group) + " was chosen for '" + name + "'; there are " +
                      std::to_string(config.param_groups.size()));
  return group;
}

// REQUIRES: a gradient is there.
void refuse_unusable_gradient(const runtime::ParameterRecord& record) {
  const torch::Tensor& gradient = record.tensor.grad();
  const auto refuse = [&](const std::string& why) { throw StateError(StateError::Cause::kMisuse, why); };
  if (!record.trainable)
    refuse("parameter '" + record.name + "' was frozen when the engine was made and cannot be trained now");
  if (gradient.layout() != torch::kStrided)
    refuse("the gradient of '" + record.name + "' is sparse; build the module with sparse(false)");
  const bool has_dtype = gradient.scalar_type() == torch::kFloat || gradient.scalar_type() == record.dtype;
  if (!has_dtype || gradient.sizes() != record.tensor.sizes())
    refuse("the gradient of '" + record.name + "' is no tensor of the parameter's shape in float32 or its dtype");
}

// The default group first, then config.optimizer.param_groups in order; empty ones are kept, so that indices mean the
// same.
std::vector<torch::optim::OptimizerParamGroup> make_groups(const OptimizerConfig& config, runtime::ModelData& data,
                                                           const GroupOf& group_of) {
  std::vector<std::vector<torch::Tensor>> members(config.param_groups.size() + 1);
  for (const auto& record : data.parameters()) {
    if (!record.trainable) continue;
    const int group = group_of_parameter(config, group_of, record.name, record.tensor);
    members[static_cast<std::size_t>(group + 1)].push_back(record.tensor);
  }
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(members[0], make_options(config.type, config.params, {}));
  for (std::size_t i = 0; i < config.param_groups.size(); ++i)
    groups.emplace_back(members[i + 1], make_options(config.type, config.params, config.param_groups[i].params));
  return groups;
}

// Of the chunk with these parameters, from `start` until now.
void note_update_in_pass(evict::Residency& residency, const evict::Resident* param,
                         std::chrono::steady_clock::time_point start) {
  const auto end = std::chrono::steady_clock::now();
  residency.record_update(param, start, end);
  residency.note_update_in_pass(static_cast<std::uint32_t>(param->update_index),
                                static_cast<std::uint64_t>(std::chrono::nanoseconds(end - start).count()));
}

// The simulated accelerator's memory is the host's.
std::unique_ptr<hybrid_adam::ChunkUpdater> make_updater_above(const runtime::Runtime& runtime, ThreadPool& pool) {
  if (!runtime.kernels()) return std::make_unique<hybrid_adam::ProcessorUpdater>(pool);
  auto& card = *runtime.residency().hierarchy().pool(Tier::kGpu).accelerator();
  return std::make_unique<hybrid_adam::AcceleratorUpdater>(card, *runtime.kernels());
}

}  // namespace

// One param group as it stands at this step.
struct Optimizer::Group {
  std::size_t index;
  HyperParameters hyper;
};

// A run of elements of one chunk that share constants.
struct Optimizer::Segment {
  std::uint64_t offset;  // elements from the chunk's start
  std::uint64_t count;
  std::size_t group;
  std::int64_t num_steps;
  hybrid_adam::UpdateConstants constants;
  hybrid_adam::StateCodec codec;
  hybrid_adam::RoundingKey rounding;
  bool fills_storage;  // what follows it up to the alignment is nobody's
  // The gradient, where it does not lie in its slot: where it was kept, or copied out in fp32, in the parameter's order
  // of elements.
  torch::Tensor own_gradient;

  // `alignment` is that of tensors in the chunk. Coded moments know where their tensor starts, so it stays alone.
  // Says whether both compute the same from the same.
  bool is_same(const Segment& other) const {
    const auto key = [](const Segment& segment) {
      return std::tie(segment.offset, segment.count, segment.group, segment.num_steps, segment.codec);
    };
    return key(*this) == key(other) && constants == other.constants && rounding == other.rounding &&
           !own_gradient.defined() && !other.own_gradient.defined();
  }

  void join(const Segment& next) {
    count = next.offset + next.count - offset;
    fills_storage = next.fills_storage;
  }

  bool continues(const Segment& next, std::uint64_t alignment) const {
    const bool adjacent = (fills_storage ? round_up(offset + count, alignment) : offset + count) == next.offset;
    return codec == hybrid_adam::StateCodec::kFloat32 && adjacent && group == next.group &&
           num_steps == next.num_steps && !own_gradient.defined() && !next.own_gradient.defined();
  }
};

// The update of one chunk; nothing where no parameter of it has a gradient.
struct Optimizer::ChunkPlan {
  std::vector<Segment> segments;
  std::uint64_t replaced_bytes = 0;  // of param, that are written without being read

  bool reads_slots() const {
    return std::any_of(segments.begin(), segments.end(),
                       [](const Segment& segment) { return !segment.own_gradient.defined(); });
  }
  bool has_own_gradients() const {
    return std::any_of(segments.begin(), segments.end(),
                       [](const Segment& segment) { return segment.own_gradient.defined(); });
  }

  void clear() {  // keeps the memory
    segments.clear();
    replaced_bytes = 0;
  }
};

// Gradients that were kept outside of chunks, while they are read.
class Optimizer::KeptGradients {
 public:
  // `wants` is scratch.
  KeptGradients(evict::Residency& residency, const ChunkPlan& plan, std::vector<evict::Want>& wants)
      : residency_(residency), wants_(wants) {
    wants_.clear();
    for (const auto& segment : plan.segments) {
      const auto* slot = segment.own_gradient.defined() ? runtime::StorageSlot::of(segment.own_gradient) : nullptr;
      if (slot) wants_.push_back({slot->resident(), evict::Access::kRead});
    }
    if (!wants_.empty()) residency_.acquire(wants_, Tier::kCpu);
  }
  KeptGradients(const KeptGradients&) = delete;
  KeptGradients& operator=(const KeptGradients&) = delete;
  ~KeptGradients() {
    if (!wants_.empty()) residency_.release(wants_, Tier::kCpu);
  }

 private:
  evict::Residency& residency_;
  std::vector<evict::Want>& wants_;
};

Optimizer::Optimizer(EngineCore& core, const EngineConfig& config, runtime::ModelData& data, const GroupOf& group_of)
    : torch::optim::Optimizer(make_groups(config.optimizer, data, group_of),
                              make_options(config.optimizer.type, config.optimizer.params, {})),
      core_(core),
      data_(data),
      algorithm_(algorithm_of(config.optimizer.type)),
      seed_(at::detail::getDefaultCPUGenerator().current_seed()),
      clip_norm_(config.gradient_clipping.value_or(0)),
      pool_(config.cpu.threads),
      below_(std::make_unique<hybrid_adam::ProcessorUpdater>(pool_)),
      above_(make_updater_above(*core.runtime_, pool_)),
      plans_(data.chunks().size()),
      may_be_early_(config.placement.early_update && config.prefetch > 0 && clip_norm_ <= 0 &&
                    core.runtime_->compute_tier() == Tier::kGpu),
      early_(core.runtime_->residency()),
      early_plans_(data.chunks().size()),
      chunk_(data.chunks().size()),
      may_be_late_(config.placement.late_update && config.prefetch > 0 && core.runtime_->compute_tier() == Tier::kGpu),
      engine_thread_(std::this_thread::get_id()),
      late_(core.runtime_->residency(), [this](std::size_t place) { update_late(place); }) {
  for (std::size_t chunk = 0; chunk < data_.chunks().size(); ++chunk)
    if (data_.chunks()[chunk].trainable) trained_.push_back(chunk);
  for (auto& record : data_.parameters())
    if (record.trainable) chunk_[record.chunk].push_back(&record);
  if (core.runtime_->compute_tier() == Tier::kGpu && config.optimizer.use_hybrid_adam)
    force_placement(config.debug.update_on_gpu);
  if (may_be_early_)
    data_.set_on_final_gradient([this](const runtime::ParameterRecord& record) { note_final(record); });
  if (may_be_late_) core_.runtime_->residency().set_puts_off_updates(true);
  if (may_be_early_ || may_be_late_) core_.runtime_->add_worker(this);
}

Optimizer::~Optimizer() {
  core_.runtime_->remove_worker(this);
  data_.set_on_final_gradient(nullptr);
}

runtime::StateLists Optimizer::state_lists(const OptimizerConfig& config, const GroupOf& group_of) {
  const auto codec = [config, group_of](const std::string& name, const torch::Tensor& parameter) {
    const int group = group_of_parameter(config, group_of, name, parameter);
    const auto common = config.params.state_dtype.value_or(StateDtype::kFp32);
    if (group < 0) return runtime::state_codec(common);
    const auto& own = config.param_groups[static_cast<std::size_t>(group)].params.state_dtype;
    return runtime::state_codec(own.value_or(common));
  };
  if (config.type != OptimizerType::kSgd) return {true, true, codec};
  bool momentum = config.params.momentum.value_or(0) != 0;
  for (const auto& group : config.param_groups) momentum |= group.params.momentum.value_or(0) != 0;
  return {momentum, false, codec};
}

torch::Tensor Optimizer::step(LossClosure closure) {
  torch::Tensor loss;
  if (closure) {
    const torch::AutoGradMode grad(true);
    loss = closure();
  }
  const auto start = std::chrono::steady_clock::now();
  auto& runtime = *core_.runtime_;
  runtime.check_failure();
  core_.end_pass();
  runtime.residency().begin_step_call();
  bool updated = false;
  {
    const torch::NoGradGuard no_grad;
    runtime::release_last_outputs();
    updated = try_update();
  }
  core_.finish_step(grad_norm_, !updated, start);
  return loss;
}

// False when the step was skipped for an overflow.
bool Optimizer::try_update() {
  catch_up();
  data_.refuse_new_parameters();
  data_.reclaim();
  auto& scaler = core_.loss_scaler_;
  const auto* overflowed = measure_gradients();
  if (overflowed && scaler.is_exhausted()) throw LossScaleError(overflowed->name, scaler.scale());
  num_taken_ = num_late_ = num_above_ = 0;
  if (!overflowed) try {
      update(grad_scale());
    } catch (...) {
      drop_plans();
      throw;
    }
  early_.discard_all();
  data_.use_up_gradients();
  scaler.count_step(overflowed);
  return !overflowed;
}

// Everything that can be refused is refused before the first chunk changes.
void Optimizer::update(double grad_scale) {
  const bool was_all_there = core_.runtime_->is_all_there();
  plan_update(grad_scale);
  if (was_all_there && !core_.runtime_->is_all_there())
    plan_update(grad_scale);        // what was kept has to be able to move
  runtime::release_last_outputs();  // a gradient that was put into its place
  core_.runtime_->residency().require_room(Tier::kCpu, data_.update_working_set_bytes(), "the optimizer update");
  if (!stepped_.empty()) core_.runtime_->end_measuring();
  for (auto* record : stepped_) {
    ++record->num_steps;
    record->tensor.unsafeGetTensorImpl()->bump_version();  // as torch's in-place operators do
  }
  lists_.clear();
  for (const std::size_t chunk : trained_) lists_.push_back(lists_of(chunk, plans_[chunk]));
  evict::UpdatePipeline(core_.runtime_->residency(), core_.update_signature())
      .run(
          lists_, [&](std::size_t place) { return take_early(place) || put_off(place); },
          [&](std::size_t place, Tier tier) { update_chunk(place, tier); });
  has_updated_ |= !stepped_.empty();
  for (auto* record : stepped_) data_.end_loan(*record);
  runtime::bury();
}

// Sums the norm in double, tensors in the order of names. Returns the first parameter whose gradient is not finite, in
// fp16 only.
const runtime::ParameterRecord* Optimizer::measure_gradients() {
  grad_norm_ = std::nan("");
  const bool finds_overflow = core_.loss_scaler_.is_active();
  if (clip_norm_ <= 0 && !finds_overflow) return nullptr;
  const runtime::ParameterRecord* overflowed = nullptr;
  double sum = 0;
  for (auto& record : data_.parameters()) {
    if (!record.tensor.grad().defined()) continue;
    refuse_unusable_gradient(record);
    data_.sum_gradient(record);
  }
  for (auto& record : data_.parameters()) {
    if (!record.tensor.grad().defined()) continue;
    const double square_sum = data_.grad_square_sum(record);  // finite exactly when every element is
    if (finds_overflow && !overflowed && !std::isfinite(square_sum)) overflowed = &record;
    sum += square_sum;
  }
  grad_norm_ = std::sqrt(sum) / core_.gradient_scale_;
  return overflowed;
}

// What gradients are multiplied by: they are unscaled, and clipped as torch's clip_grad_norm_ does it.
double Optimizer::grad_scale() const {
  const double clip_factor = clip_norm_ > 0 ? std::min(1.0, clip_norm_ / (grad_norm_ + kClipEpsilon)) : 1;
  return clip_factor / core_.gradient_scale_;
}

void Optimizer::plan_update(double grad_scale) {
  for (auto& plan : plans_) plan.clear();
  stepped_.clear();
  for (const auto& record : data_.parameters())
    if (record.tensor.grad().defined()) refuse_unusable_gradient(record);
  for (std::size_t index = 0; index < param_groups_.size(); ++index) {
    const Group group{index, read_options(param_groups_[index].options())};
    for (const auto& parameter : param_groups_[index].params()) {
      auto* record = data_.find(parameter);
      if (!record)
        throw StateError(StateError::Cause::kMisuse, "the optimizer was given a parameter that is not the engine's");
      if (record->tensor.grad().defined()) plan_parameter(*record, group, grad_scale);
    }
  }
  for (std::size_t chunk = 0; chunk < plans_.size(); ++chunk) merge_segments(plans_[chunk], data_.chunks()[chunk]);
}

void Optimizer::merge_segments(ChunkPlan& plan, const runtime::ChunkLists& lists) const {
  auto& segments = plan.segments;
  if (segments.empty()) return;
  std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  auto last = segments.begin();
  for (auto next = last + 1; next != segments.end(); ++next) {
    if (last->continues(*next, lists.alignment()))
      last->join(*next);
    else if (++last != next)
      *last = std::move(*next);
  }
  segments.erase(last + 1, segments.end());
}

void Optimizer::plan_parameter(runtime::ParameterRecord& record, const Group& group, double grad_scale) {
  if (record.tensor.numel() == 0) return;
  data_.settle_gradient(record);
  add_segment(plans_[record.chunk], record, group, grad_scale);
  if (!data_.has_routed_gradient(record)) {
    const bool is_kept = data_.has_kept_gradient(record) && core_.runtime_->is_all_there();
    plans_[record.chunk].segments.back().own_gradient =
        is_kept ? record.tensor.grad()
                : data_.copy_out(record.tensor.grad().to(torch::kFloat), record.tensor.strides());
  }
  stepped_.push_back(&record);
}

// From the gradient in its place.
void Optimizer::add_segment(ChunkPlan& plan, runtime::ParameterRecord& record, const Group& group, double grad_scale) {
  if (lacks_momentum(record, group))
    throw StateError(StateError::Cause::kMisuse,
                     "momentum was 0 in every param group when the engine was made, so there is no room for it now");
  Segment segment;
  segment.offset = record.offset;
  segment.count = static_cast<std::uint64_t>(record.tensor.numel());
  segment.group = group.index;
  segment.num_steps = record.num_steps + 1;
  segment.constants =
      hybrid_adam::make_update_constants(group.hyper, static_cast<std::uint64_t>(segment.num_steps), grad_scale);
  segment.codec = data_.chunks()[record.chunk].state_codec;
  segment.rounding =
      hybrid_adam::make_rounding_key(seed_, static_cast<std::uint64_t>(segment.num_steps), data_.index_of(record));
  segment.fills_storage = record.fills_storage;
  if (record.fills_storage)
    plan.replaced_bytes += round_up(segment.count * c10::elementSize(record.dtype), chunk::kTensorAlignment);
  plan.segments.push_back(std::move(segment));
}

bool Optimizer::lacks_momentum(const runtime::ParameterRecord& record, const Group& group) const {
  return algorithm_ == Algorithm::kSgd && group.hyper.momentum != 0 && !data_.chunks()[record.chunk].exp_avg;
}

// What the update of the chunk uses; nothing where no parameter of it has a gradient.
evict::UpdatePipeline::Lists Optimizer::lists_of(std::size_t chunk, const ChunkPlan& plan) const {
  if (plan.segments.empty()) return {};
  const auto& lists = data_.chunks()[chunk];
  evict::UpdatePipeline::Lists wants;
  for (auto* list : {lists.exp_avg, lists.exp_avg_sq, lists.master})
    if (list) wants.push_back({list, evict::Access::kWrite});
  if (lists.grad && plan.reads_slots()) wants.push_back({lists.grad, evict::Access::kRead});
  wants.push_back({lists.param, is_overwritten(plan, lists) ? evict::Access::kOverwrite : evict::Access::kWrite});
  wants.set_tier(tier_of(chunk, plan));
  return wants;
}

// True where masters are rounded over everything that the chunk's param list holds, and that is no gradient.
bool Optimizer::is_overwritten(const ChunkPlan& plan, const runtime::ChunkLists& lists) const {
  return lists.master && lists.grad && plan.replaced_bytes == lists.used_bytes;
}

// REQUIRES: the chunk's lists are pinned on the tier.
void Optimizer::update_chunk(std::size_t place, Tier tier) {
  const std::size_t chunk = trained_[place];
  auto& residency = core_.runtime_->residency();
  const KeptGradients kept(residency, plans_[chunk], kept_gradients_);
  const auto start = std::chrono::steady_clock::now();
  update_segments(chunk, plans_[chunk], tier,
                  [&](const evict::Resident* list) { return residency.address(list, tier); });
  for (auto& segment : plans_[chunk].segments) segment.own_gradient.reset();
  residency.record_update(data_.chunks()[chunk].param, start, std::chrono::steady_clock::now());
  num_above_ += tier == Tier::kGpu;
  if (tier != lists_[place].tier()) set_update_tier(chunk, tier);  // there was no room for it
  runtime::bury();
}

void Optimizer::update_segments(std::size_t chunk, const ChunkPlan& plan, Tier tier, const AddressOf& address_of) {
  const std::lock_guard<std::mutex> alone(computing_);
  segments_.clear();
  for (const auto& segment : plan.segments) segments_.push_back(resolve(segment, data_.chunks()[chunk], address_of));
  (tier == Tier::kGpu ? above_ : below_)->update(algorithm_, segments_);
}

hybrid_adam::UpdateSegment Optimizer::resolve(const Segment& segment, const runtime::ChunkLists& lists,
                                              const AddressOf& address_of) const {
  const auto at = [&](const evict::Resident* list, c10::ScalarType dtype) -> std::byte* {
    return list ? address_of(list) + segment.offset * c10::elementSize(dtype) : nullptr;
  };
  const auto floats = [&](evict::Resident* list) { return reinterpret_cast<float*>(at(list, torch::kFloat)); };
  const auto moments = [&](evict::Resident* list) -> hybrid_adam::MomentArray {
    if (!list) return nullptr;
    return hybrid_adam::moment_array(segment.codec, address_of(list), lists.num_elements, segment.offset);
  };
  hybrid_adam::UpdateArrays arrays{};
  arrays.param = floats(lists.master ? lists.master : lists.param);
  arrays.grad = {at(lists.grad_home(), lists.grad_dtype), runtime::number_type(lists.grad_dtype)};
  if (segment.own_gradient.defined())
    arrays.grad = {segment.own_gradient.const_data_ptr(), runtime::number_type(segment.own_gradient.scalar_type())};
  arrays.exp_avg = moments(lists.exp_avg);
  arrays.exp_avg_sq = moments(lists.exp_avg_sq);
  arrays.count = segment.count;
  arrays.rounding = segment.rounding;
  if (lists.master) arrays.param_out = {at(lists.param, lists.dtype), runtime::number_type(lists.dtype)};
  return {segment.constants, arrays};
}

// ---- where chunks are updated ---------------------------------------------------------------------------------------

void Optimizer::force_placement(UpdateOnGpu where) {
  may_place_ = where == UpdateOnGpu::kPlanned;
  is_placed_ = !may_place_;
  if (!is_placed_) return;
  for (std::size_t place = 0; place < trained_.size(); place += where == UpdateOnGpu::kAll ? 1 : 2)
    if (!data_.chunks()[trained_[place]].is_table) set_update_tier(trained_[place], Tier::kGpu);
}

void Optimizer::set_update_tier(std::size_t chunk, Tier tier) {
  for (auto* list : data_.chunks()[chunk].all())
    if (list) core_.runtime_->residency().set_update_tier(list, tier);
}

// The first update is on the cpu tier whatever is decided: it is what a budget was judged by, and is measured.
void Optimizer::place_updates(const evict::MoveRates& rates) {
  if (!may_place_ || (is_foretold_ && !has_updated_)) return;
  std::vector<const evict::Resident*> params;
  for (const std::size_t chunk : trained_) params.push_back(data_.chunks()[chunk].param);
  core_.runtime_->residency().place_updates(params, rates, above_->costs_processor());
  is_foretold_ = true;
  is_placed_ = has_updated_;
  may_place_ = !is_placed_;
}

// A gradient outside of the chunk lies in the host's memory.
Tier Optimizer::tier_of(std::size_t chunk, const ChunkPlan& plan) const {
  if (!is_placed_ || plan.has_own_gradients()) return Tier::kCpu;
  return data_.chunks()[chunk].param->update_tier;
}

void Optimizer::describe(Plan& plan) const {
  for (const std::size_t chunk : trained_) {
    const auto& lists = data_.chunks()[chunk];
    const bool is_above = lists.param->update_tier == Tier::kGpu;
    ++(is_above ? plan.num_gpu_updates : plan.num_cpu_updates);
    for (const auto* list : {lists.master, lists.exp_avg, lists.exp_avg_sq})
      if (list && is_above) plan.gpu_state_bytes += list->bytes;
  }
}

// ---- updates ahead of step() ----------------------------------------------------------------------------------------

// What an earlier backward had computed is of no use: this one adds to its gradients, or they are gone. Only where this
// backward is foretold to be the last before step() is anything computed; take_early() sees whether that was so.
void Optimizer::begin_backward() {
  if (!may_be_early_) return;
  early_.discard_all();
  num_final_.assign(chunk_.size(), 0);
  is_early_ = core_.runtime_->residency().is_update_next(core_.update_signature());
  groups_.clear();
  group_of_.assign(data_.parameters().size(), param_groups_.size());
  if (is_early_) read_groups();
}

// Options that cannot be used are step()'s to refuse.
void Optimizer::read_groups() {
  try {
    for (std::size_t index = 0; index < param_groups_.size(); ++index) {
      groups_.push_back({index, read_options(param_groups_[index].options())});
      for (const auto& parameter : param_groups_[index].params())
        if (const auto* record = data_.find(parameter)) group_of_[data_.index_of(*record)] = index;
    }
  } catch (const StateError&) {
    is_early_ = false;
  }
}

void Optimizer::note_final(const runtime::ParameterRecord& record) {
  const std::size_t chunk = record.chunk;
  thread_ = std::this_thread::get_id();  // of a card's gradients, autograd's for that card
  if (num_final_.empty() || data_.chunks()[chunk].lends() || ++num_final_[chunk] != chunk_[chunk].size()) return;
  const auto* param = data_.chunks()[chunk].param;
  core_.runtime_->residency().note_ready(param);
  early_.make_ready(static_cast<std::size_t>(param->update_index),
                    is_early_ ? plan_early(chunk) : evict::UpdatePipeline::Lists());
}

// Nothing where the update must be step()'s.
evict::UpdatePipeline::Lists Optimizer::plan_early(std::size_t chunk) {
  ChunkPlan& plan = early_plans_[chunk];
  plan.clear();
  for (auto* record : chunk_[chunk]) {
    const std::size_t group = group_of_[data_.index_of(*record)];
    if (group >= groups_.size() || !data_.has_routed_gradient(*record) || lacks_momentum(*record, groups_[group]))
      return {};
    if (record->tensor.numel() > 0) add_segment(plan, *record, groups_[group], grad_scale());
  }
  merge_segments(plan, data_.chunks()[chunk]);
  return lists_of(chunk, plan);
}

// A transfer's failure is kept by Residency, and ends the step at its next look.
void Optimizer::work_between_operators() noexcept {
  const auto thread = std::this_thread::get_id();
  try {
    if (thread == thread_ && early_.is_pending()) early_.advance([this](std::size_t place) { update_early(place); });
    if (thread == engine_thread_) late_.advance();
  } catch (const std::exception&) {
  }
}

void Optimizer::update_early(std::size_t place) {
  const std::size_t chunk = trained_[place];
  auto& residency = core_.runtime_->residency();
  const auto start = std::chrono::steady_clock::now();
  copy_to_shadows(chunk);
  update_segments(chunk, early_plans_[chunk], Tier::kCpu, [&](const evict::Resident* list) {
    return residency.address(list->shadow ? list->shadow : list, Tier::kCpu);
  });
  note_update_in_pass(residency, data_.chunks()[chunk].param, start);
}

// What the update reads and rewrites is copied first, and rewritten in the copy while the cache has it.
void Optimizer::copy_to_shadows(std::size_t chunk) {
  constexpr std::size_t kPieceBytes = 256 * kKiB;
  const std::lock_guard<std::mutex> alone(computing_);
  auto& residency = core_.runtime_->residency();
  for (const auto& want : lists_of(chunk, early_plans_[chunk])) {
    if (want.access != evict::Access::kWrite) continue;
    const std::byte* from = residency.address(want.resident, Tier::kCpu);
    std::byte* to = residency.address(want.resident->shadow, Tier::kCpu);
    const std::size_t bytes = want.resident->bytes;
    pool_.parallel_for((bytes + kPieceBytes - 1) / kPieceBytes, [&](std::size_t piece) {
      const std::size_t begin = piece * kPieceBytes;
      std::memcpy(to + begin, from + begin, std::min(kPieceBytes, bytes - begin));
    });
  }
}

// True where what was computed ahead is what step() would compute now.
bool Optimizer::take_early(std::size_t place) {
  const std::size_t chunk = trained_[place];
  const auto& now = plans_[chunk].segments;
  const auto& before = early_plans_[chunk].segments;
  const bool is_same = std::equal(now.begin(), now.end(), before.begin(), before.end(),
                                  [](const Segment& a, const Segment& b) { return a.is_same(b); });
  if (!is_same) early_.discard(place);
  const bool taken = is_same && early_.take(place);
  num_taken_ += taken;
  return taken;
}

// ---- updates that step() puts off -----------------------------------------------------------------------------------

// What waits for its gradient, or for its state, waits while forward runs. A gradient outside of the chunk is
// let go of now, and a lent place is needed at once.
bool Optimizer::put_off(std::size_t place) {
  const std::size_t chunk = trained_[place];
  if (!may_be_late_ || data_.chunks()[chunk].lends() || plans_[chunk].has_own_gradients() ||
      !late_.put_off(place, lists_[place]))
    return false;
  ++num_late_;
  return true;
}

void Optimizer::update_late(std::size_t place) {
  const std::size_t chunk = trained_[place];
  auto& residency = core_.runtime_->residency();
  const auto start = std::chrono::steady_clock::now();
  update_segments(chunk, plans_[chunk], Tier::kCpu,
                  [&](const evict::Resident* list) { return residency.address(list, Tier::kCpu); });
  note_update_in_pass(residency, data_.chunks()[chunk].param, start);
}

// They hold gradients. Those of what has been put off are still to be used.
void Optimizer::drop_plans() {
  for (std::size_t place = 0; place < trained_.size(); ++place)
    if (!late_.is_late(place)) plans_[trained_[place]].clear();
}

void Optimizer::save(torch::serialize::OutputArchive&) const {
  throw StateError(StateError::Cause::kMisuse, "optimizer state lives in chunks and is not written to torch archives");
}

void Optimizer::load(torch::serialize::InputArchive&) {
  throw StateError(StateError::Cause::kMisuse, "optimizer state lives in chunks and is not read from torch archives");
}

}  // namespace asterias
