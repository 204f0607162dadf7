#include "runtime/optimizer.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "runtime/engine_core.hpp"

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

// Matches '*' (any run) and '?' (one character).
bool glob_matches(const char* pattern, const char* text) {
  for (; *pattern != '*'; ++pattern, ++text) {
    if (*text == '\0' || *pattern == '\0') return *text == *pattern;
    if (*pattern != '?' && *pattern != *text) return false;
  }
  for (;; ++text) {
    if (glob_matches(pattern + 1, text)) return true;
    if (*text == '\0') return false;
  }
}

int group_by_pattern(const OptimizerConfig& config, const std::string& name) {
  for (std::size_t group = 0; group < config.param_groups.size(); ++group)
    for (const auto& pattern : config.param_groups[group].match)
      if (glob_matches(pattern.c_str(), name.c_str())) return static_cast<int>(group);
  return -1;
}

// REQUIRES: a gradient is there.
void refuse_unusable_gradient(const runtime::ParameterRecord& record) {
  const torch::Tensor& gradient = record.tensor.grad();
  const auto refuse = [&](const std::string& why) { throw StateError(StateError::Cause::kMisuse, why); };
  if (!record.trainable)
    refuse("parameter '" + record.name + "' was frozen when the engine was made and cannot be trained now");
  if (gradient.layout() != torch::kStrided)
    refuse("the gradient of '" + record.name + "' is sparse; build the module with sparse(false)");
  if (gradient.scalar_type() != torch::kFloat || gradient.sizes() != record.tensor.sizes())
    refuse("the gradient of '" + record.name + "' is no float32 tensor of the parameter's shape");
}

// The default group first, then config.optimizer.param_groups in order; empty ones are kept, so that indices mean the
// same.
std::vector<torch::optim::OptimizerParamGroup> make_groups(const OptimizerConfig& config, runtime::ModelData& data,
                                                           const GroupOf& group_of) {
  std::vector<std::vector<torch::Tensor>> members(config.param_groups.size() + 1);
  for (const auto& record : data.parameters()) {
    if (!record.trainable) continue;
    const int group = group_of ? group_of(record.name, record.tensor) : group_by_pattern(config, record.name);
    if (group < -1 || group >= static_cast<int>(config.param_groups.size()))
      throw ConfigError("param group " + std::to_string(group) + " was chosen for '" + record.name + "'; there are " +
                        std::to_string(config.param_groups.size()));
    members[static_cast<std::size_t>(group + 1)].push_back(record.tensor);
  }
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(members[0], make_options(config.type, config.params, {}));
  for (std::size_t i = 0; i < config.param_groups.size(); ++i)
    groups.emplace_back(members[i + 1], make_options(config.type, config.params, config.param_groups[i].params));
  return groups;
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
  // The gradient, where it does not lie in its own slot: copied out, in the parameter's order of elements.
  torch::Tensor stray_gradient;

  bool continues(const Segment& next) const {
    const bool adjacent = round_up(offset + count, chunk::kTensorAlignment / sizeof(float)) == next.offset;
    return adjacent && group == next.group && num_steps == next.num_steps && !stray_gradient.defined() &&
           !next.stray_gradient.defined();
  }
};

Optimizer::Optimizer(EngineCore& core, const EngineConfig& config, runtime::ModelData& data, const GroupOf& group_of)
    : torch::optim::Optimizer(make_groups(config.optimizer, data, group_of),
                              make_options(config.optimizer.type, config.optimizer.params, {})),
      core_(core),
      data_(data),
      algorithm_(algorithm_of(config.optimizer.type)),
      clip_norm_(config.gradient_clipping.value_or(0)),
      prefetch_(config.prefetch),
      pool_(config.cpu.threads) {}

Optimizer::~Optimizer() = default;

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
  {
    const torch::NoGradGuard no_grad;
    runtime::release_last_outputs();
    update();
  }
  core_.finish_step(grad_norm_, start);
  return loss;
}

// Everything that can be refused is refused before the first chunk changes.
void Optimizer::update() {
  data_.refuse_new_parameters();
  data_.reclaim();
  plan_update(clip_factor());
  core_.runtime_->residency().require_room(Tier::kCpu, data_.update_working_set_bytes(), "the optimizer update");
  if (!stepped_.empty()) core_.runtime_->end_measuring();
  for (auto* record : stepped_) {
    ++record->num_steps;
    record->tensor.unsafeGetTensorImpl()->bump_version();  // as torch's in-place operators do
  }
  for (std::size_t chunk = 0; chunk < segments_.size(); ++chunk) update_chunk(chunk);
  core_.runtime_->residency().with_timeline([](auto& timeline) { timeline.end_update(); });
  runtime::bury();
}

// Returns what gradients are multiplied by: torch's clip_grad_norm_ with the norm summed in double, tensors in the
// order of names.
double Optimizer::clip_factor() {
  grad_norm_ = std::nan("");
  if (clip_norm_ <= 0) return 1;
  double sum = 0;
  for (auto& record : data_.parameters()) {
    if (!record.tensor.grad().defined()) continue;
    refuse_unusable_gradient(record);
    sum += data_.grad_square_sum(record);
  }
  grad_norm_ = std::sqrt(sum);
  return std::min(1.0, clip_norm_ / (grad_norm_ + kClipEpsilon));
}

void Optimizer::plan_update(double grad_scale) {
  segments_.assign(data_.chunks().size(), {});
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
  for (auto& segments : segments_) {
    std::sort(segments.begin(), segments.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
    std::vector<Segment> merged;
    for (auto& segment : segments) {
      if (!merged.empty() && merged.back().continues(segment))
        merged.back().count = segment.offset + segment.count - merged.back().offset;
      else
        merged.push_back(std::move(segment));
    }
    segments = std::move(merged);
  }
}

void Optimizer::plan_parameter(runtime::ParameterRecord& record, const Group& group, double grad_scale) {
  const torch::Tensor& gradient = record.tensor.grad();
  if (record.tensor.numel() == 0) return;
  if (algorithm_ == Algorithm::kSgd && group.hyper.momentum != 0 && !data_.chunks()[record.chunk].exp_avg)
    throw StateError(StateError::Cause::kMisuse,
                     "momentum was 0 in every param group when the engine was made, so there is no room for it now");
  Segment segment;
  segment.offset = record.offset_bytes / sizeof(float);
  segment.count = static_cast<std::uint64_t>(record.tensor.numel());
  segment.group = group.index;
  segment.num_steps = record.num_steps + 1;
  segment.constants =
      hybrid_adam::make_update_constants(group.hyper, static_cast<std::uint64_t>(segment.num_steps), grad_scale);
  if (!record.grad_slot || runtime::StorageSlot::of(gradient) != record.grad_slot) {
    segment.stray_gradient = data_.copy_out(gradient, record.tensor.strides());
  }
  stepped_.push_back(&record);
  segments_[record.chunk].push_back(std::move(segment));
}

void Optimizer::update_chunk(std::size_t chunk) {
  auto& segments = segments_[chunk];
  if (segments.empty()) return;
  auto& residency = core_.runtime_->residency();
  const auto& lists = data_.chunks()[chunk];
  residency.begin_update(static_cast<std::uint32_t>(chunk), static_cast<std::uint32_t>(segments_.size()));
  std::vector<evict::Want> wants{{lists.param, evict::Access::kWrite}, {lists.grad, evict::Access::kRead}};
  if (lists.exp_avg) wants.push_back({lists.exp_avg, evict::Access::kWrite});
  if (lists.exp_avg_sq) wants.push_back({lists.exp_avg_sq, evict::Access::kWrite});
  residency.acquire(wants, Tier::kCpu);
  start_next(chunk);
  const auto floats = [&](evict::Resident* list) {
    return list ? reinterpret_cast<float*>(residency.address(list, Tier::kCpu)) : nullptr;
  };
  const hybrid_adam::UpdateArrays whole{floats(lists.param), floats(lists.grad), floats(lists.exp_avg),
                                        floats(lists.exp_avg_sq), lists.bytes / sizeof(float)};
  const auto start = std::chrono::steady_clock::now();
  for (auto& segment : segments) {
    auto part = whole.part(segment.offset, segment.count);
    if (segment.stray_gradient.defined()) part.grad = segment.stray_gradient.const_data_ptr<float>();
    hybrid_adam::update_parallel(pool_, algorithm_, segment.constants, part);
    segment.stray_gradient.reset();
  }
  residency.record_update(lists.param, start, std::chrono::steady_clock::now());
  residency.release(wants, Tier::kCpu);
  write_back(lists);
  runtime::bury();
}

// Starts writing what was changed, where the tier will need the room: it then leaves for free when that is the case.
void Optimizer::write_back(const runtime::ChunkLists& lists) {
  auto& residency = core_.runtime_->residency();
  if (residency.hierarchy().pool(Tier::kCpu).shortfall(data_.update_working_set_bytes()) == 0) return;
  for (auto* list : {lists.exp_avg, lists.exp_avg_sq, lists.param})
    if (list) residency.write_behind(list, Tier::kCpu);
}

// Starts fetching what the next chunks need, as far as there is room, while this one is computed.
void Optimizer::start_next(std::size_t chunk) {
  auto& residency = core_.runtime_->residency();
  const std::size_t end = std::min(segments_.size(), chunk + 1 + static_cast<std::size_t>(prefetch_));
  for (std::size_t next = chunk + 1; next < end; ++next) {
    if (segments_[next].empty()) continue;
    const auto& lists = data_.chunks()[next];
    for (auto* list : {lists.param, lists.grad, lists.exp_avg, lists.exp_avg_sq})
      if (list) residency.prefetch(list, Tier::kCpu);
  }
}

void Optimizer::save(torch::serialize::OutputArchive&) const {
  throw StateError(StateError::Cause::kMisuse, "optimizer state lives in chunks and is not written to torch archives");
}

void Optimizer::load(torch::serialize::InputArchive&) {
  throw StateError(StateError::Cause::kMisuse, "optimizer state lives in chunks and is not read from torch archives");
}

}  // namespace asterias
