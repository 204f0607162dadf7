#include "runtime/engine_core.hpp"

#include <atomic>
#include <cmath>
#include <exception>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/process_memory.hpp"
#include "runtime/link_rates.hpp"

namespace asterias {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

double stall_ms(const evict::ResidencyStats& stats, evict::Edge edge) {
  return static_cast<double>(stats.stalled(edge)) / 1e6;
}

// What a new model will fill counts once as content; what stays blank, while needs are measured only.
void count_what_was_built(const runtime::Runtime& runtime) {
  runtime.residency().count_blank(true);
  if (!runtime.is_measuring()) runtime.residency().count_blank(false);
}

std::uint64_t next_engine_id() {
  static std::atomic<std::uint64_t> id{0};
  return ++id;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  return (a ^ (b + 0x9e3779b97f4a7c15ULL + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdULL;
}

EngineConfig resolved(EngineConfig config) {
  config.device = config.resolved_device();
  return config;
}

// Lets gradients in while it lives; fp16 refuses all others.
class ScaledBackward {
 public:
  ScaledBackward(runtime::ModelData& data, bool is_scaled) : data_(data), is_scaled_(is_scaled) {
    data_.take_gradients(true);
  }
  ScaledBackward(const ScaledBackward&) = delete;
  ScaledBackward& operator=(const ScaledBackward&) = delete;
  ~ScaledBackward() { data_.take_gradients(!is_scaled_); }

 private:
  runtime::ModelData& data_;
  const bool is_scaled_;
};

}  // namespace

EngineCore::EngineCore(const EngineConfig& config, const MakeModule& make_module, const GroupOf& group_of)
    : id_(next_engine_id()),
      step_start_(Clock::now()),
      config_(resolved(config)),
      precision_(config),
      loss_scaler_(config.fp16),
      gradient_scale_(loss_scaler_.scale()),
      runtime_((config.validate(), runtime::Runtime::attach(config_))) {
  next_.loss = std::nan("");
  runtime_->residency().count_blank(false);
  try {
    module_ = build(make_module);
    if (!module_) throw StateError(StateError::Cause::kMisuse, "model_func returned no module");
    precision_.refuse_unmatched(module_->named_parameters().keys());
    runtime::release_last_outputs();
    const bool sums_gradients = config_.gradient_clipping.value_or(0) > 0 || loss_scaler_.is_active();
    data_ = std::make_unique<runtime::ModelData>(runtime_, module_, precision_, config_.default_chunk_elements,
                                                 Optimizer::state_lists(config_.optimizer, group_of), sums_gradients,
                                                 config_.placement.grad_mode, config_.use_cpu_embedding);
    data_->take_gradients(!loss_scaler_.is_active());
    optimizer_ = std::unique_ptr<Optimizer>(new Optimizer(*this, config_, *data_, group_of));
    hold_buffers();
    count_what_was_built(*runtime_);
    if (runtime_->is_measuring()) runtime_->residency().start_script();
    note_update_need();
  } catch (const OutOfMemory&) {
    abandon();
    runtime_->refuse_build();
    throw;
  } catch (...) {
    abandon();
    throw;
  }
}

// A constructor may write through raw pointers: it has no engine yet whose pin() it could hold.
std::shared_ptr<torch::nn::Module> EngineCore::build(const MakeModule& make_module) {
  const runtime::RawWrites raw_writes;
  return make_module();
}

void EngineCore::abandon() {
  leave();
  count_what_was_built(*runtime_);
}

EngineCore::~EngineCore() { leave(); }

// Gives everything back, the last engine the runtime, too.
void EngineCore::leave() {
  runtime_->residency().with_timeline([](auto& timeline) { timeline.abandon_pass(); });
  runtime::release_last_outputs();
  buffers_.reset();
  if (optimizer_) try {
      optimizer_->catch_up();
    } catch (const std::exception& error) {
      log::error(std::string("the last update could not be finished; parameters that outlive the engine are wrong: ") +
                 error.what());
    }
  optimizer_.reset();
  data_.reset();
  module_.reset();
  runtime::Runtime::detach(runtime_);
}

// Buffers are not chunked: running statistics and masks are small, and torch reads some of them by pointer. They go
// where the parameters are, as with module.to(device).
void EngineCore::hold_buffers() {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> buffers;
  for (auto& buffer : module_->buffers()) {
    if (!buffer.defined()) continue;
    if (buffer.device() != runtime_->device()) buffer.set_data(buffer.to(runtime_->device()));
    buffers.push_back(buffer);
  }
  buffers_ = std::make_unique<runtime::Pin>(runtime_->shared_residency(), buffers);
}

void EngineCore::note_update_need() {
  runtime_->residency().note_future_need(Tier::kCpu, data_->update_working_set_bytes(), "the optimizer update");
}

std::uint64_t EngineCore::update_signature() const { return mix(mix(0, id_), data_->chunks().size()); }

// ---- passes ---------------------------------------------------------------------------------------------------------

EngineCore::Forward::Forward(EngineCore& core, std::uint64_t signature)
    : core_(core),
      records_(torch::GradMode::is_enabled()),
      exceptions_(std::uncaught_exceptions()),
      start_(Clock::now()),
      stalled_before_ms_(core.stalled_ms()) {
  core.runtime_->check_failure();
  core.data_->refuse_new_parameters();
  core.data_->recall_all();
  core.data_->reclaim();
  if (!records_) core.runtime_->check_excess();
  const bool may_be_late = core.config_.placement.late_update && core.runtime_->compute_tier() == Tier::kGpu;
  if (may_be_late) core.note_update_need();  // what step() puts off is computed beside a batch
  // Later passes of a step add to gradients that the first one makes: other operators, so another trace.
  const std::uint64_t is_later = core.next_.num_passes > 0;
  const std::uint64_t call = mix(mix(mix(signature, core.id_), core.module_->is_training()), is_later);
  core.runtime_->residency().with_timeline([&](evict::Timeline& timeline) {
    if (!records_) return timeline.suspend();
    if (!timeline.in_pass()) timeline.begin_pass(call);
    timeline.on_operator(call);  // a second forward within the pass must be the same one, too
  });
}

EngineCore::Forward::~Forward() {
  if (records_) {
    core_.next_.forward_ms += ms_since(start_);
    core_.next_.stall_forward_ms += core_.stalled_ms() - stalled_before_ms_;
  }
  core_.runtime_->residency().record_phase("forward", start_, Clock::now());
  const bool failed = std::uncaught_exceptions() > exceptions_;
  core_.runtime_->residency().with_timeline([&](evict::Timeline& timeline) {
    if (!records_) return timeline.resume();
    if (failed) timeline.abandon_pass();
  });
}

void EngineCore::backward(const torch::Tensor& loss, const torch::Tensor& gradient, bool retain_graph,
                          bool create_graph) {
  runtime_->check_failure();
  runtime::release_last_outputs();  // autograd's thread may want on another tier what this one has
  refuse_second_backward(retain_graph || create_graph);
  const auto start = Clock::now();
  const double stalled_before_ms = stalled_ms();
  try {
    rescale_gradients();
    const ScaledBackward scaled(*data_, loss_scaler_.is_active());
    optimizer_->catch_up();
    optimizer_->begin_backward();
    loss.backward(scaled_gradient(loss, gradient), retain_graph, create_graph);
  } catch (...) {
    runtime::release_worker_outputs();
    runtime_->residency().with_timeline([](auto& timeline) { timeline.abandon_pass(); });
    throw;
  }
  runtime::release_last_outputs();
  runtime::release_worker_outputs();
  next_.backward_ms += ms_since(start);
  runtime_->residency().record_phase("backward", start, Clock::now());
  next_.stall_backward_ms += stalled_ms() - stalled_before_ms;
  end_pass();
  if (loss.numel() == 1) next_.loss = (std::isnan(next_.loss) ? 0 : next_.loss) + loss.item<double>();
}

// A gradient that takes its parameter's place leaves no room for the passes that would need the parameter again.
void EngineCore::refuse_second_backward(bool keeps_graph) const {
  if (!data_->reuses_places()) return;
  if (keeps_graph)
    throw StateError(
        StateError::Cause::kMisuse,
        "placement.grad_mode is reuse: a retained graph would need parameters whose places their gradients "
        "take; choose separate for retain_graph and create_graph");
  if (const auto* record = data_->find_reusing_gradient())
    throw StateError(StateError::Cause::kMisuse,
                     "placement.grad_mode is reuse: '" + record->name +
                         "' has the gradient of an earlier backward, and several cannot be accumulated in the "
                         "parameter's place; call step() or zero_grad(/*set_to_none=*/true) first, or choose separate");
}

// The loss is scaled where backward begins, so that no value of forward can overflow by it.
torch::Tensor EngineCore::scaled_gradient(const torch::Tensor& loss, const torch::Tensor& gradient) const {
  if (!loss_scaler_.is_active()) return gradient;
  const auto& seed = gradient.defined() ? gradient : torch::ones_like(loss);
  return seed * loss_scaler_.scale();
}

// Gradients that outlived a change of the scale go on with the new one, so that what is added to them fits.
void EngineCore::rescale_gradients() {
  const double factor = loss_scaler_.scale() / gradient_scale_;
  gradient_scale_ = loss_scaler_.scale();
  if (factor == 1) return;
  const torch::NoGradGuard no_grad;
  for (const auto& record : data_->parameters())
    if (record.tensor.grad().defined()) record.tensor.mutable_grad().mul_(factor);
}

void EngineCore::end_pass() {
  runtime_->residency().with_timeline([&](evict::Timeline& timeline) {
    if (!timeline.in_pass()) return;
    ++next_.num_passes;
    next_.num_operators += timeline.now();
    timeline.end_pass();
    next_.is_warm_up |= timeline.num_recorded() != recorded_before_;
    recorded_before_ = timeline.num_recorded();
  });
  note_update_need();
  runtime_->check_refusal();
  optimizer_->place_updates(move_rates());
}

// ---- steps ----------------------------------------------------------------------------------------------------------

void EngineCore::finish_step(double grad_norm, bool skipped, Clock::time_point update_start) {
  auto& residency = runtime_->residency();
  residency.record_phase("update", update_start, Clock::now());
  count_moves(next_);
  next_.stall_update_ms = stalled_ms() - next_.stall_forward_ms - next_.stall_backward_ms;
  next_.step = stats_.step + 1;
  next_.grad_norm = grad_norm;
  next_.loss_scale = gradient_scale_;
  next_.skipped = skipped;
  next_.num_skipped = loss_scaler_.num_skipped();
  next_.lr = optimizer_->param_groups().front().options().get_lr();
  for (const Tier tier : residency.hierarchy().levels()) next_.tiers[static_cast<int>(tier)] = look_at(tier);
  residency.record_step_end(next_.step);
  keep_to_forecast(next_);
  next_.update_ms = ms_since(update_start);
  next_.wall_ms = ms_since(std::exchange(step_start_, Clock::now()));
  residency.reset_stats();
  stats_ = next_;
  next_ = StepStats();
  next_.loss = std::nan("");
}

// Where there are updates ahead of step(), a forecast is made when a few steps have been measured, and ever more seldom
// after that, since what is measured is a mean. The step is done, whatever comes of it.
void EngineCore::keep_to_forecast(const StepStats& step) {
  constexpr std::int64_t kLaterBy = 8;
  if (step.step < next_forecast_ || step.early_updates == 0) return;
  next_forecast_ = kLaterBy * step.step;
  try {
    runtime_->residency().keep_to_forecast(forecast_rates());
  } catch (const std::exception& error) {
    log::warning("what later steps hold could not be foretold: " + std::string(error.what()));
  }
}

// Counts what has moved and stalled since the counters were reset.
void EngineCore::count_moves(StepStats& stats) const {
  const auto moved = runtime_->residency().stats();
  stats.stall_nvme_read_ms = stall_ms(moved, evict::Edge::kNvmeRead);
  stats.stall_h2d_ms = stall_ms(moved, evict::Edge::kH2d);
  stats.stall_nvme_write_ms = stall_ms(moved, evict::Edge::kNvmeWrite);
  stats.stall_d2h_ms = stall_ms(moved, evict::Edge::kD2h);
  stats.stall_fetch_ms = stats.stall_nvme_read_ms + stats.stall_h2d_ms;
  stats.stall_evict_ms = stats.stall_nvme_write_ms + stats.stall_d2h_ms;
  const auto busy = runtime_->residency().busy_times();
  stats.busy_h2d_ms = static_cast<double>(busy.h2d_ns) / 1e6;
  stats.busy_d2h_ms = static_cast<double>(busy.d2h_ns) / 1e6;
  stats.busy_nvme_ms = static_cast<double>(busy.drive_ns) / 1e6;
  stats.h2d_bytes = moved.moved(evict::Edge::kH2d);
  stats.d2h_bytes = moved.moved(evict::Edge::kD2h);
  stats.nvme_read_bytes = moved.moved(evict::Edge::kNvmeRead);
  stats.nvme_write_bytes = moved.moved(evict::Edge::kNvmeWrite);
  stats.evictions_clean = moved.evictions_clean;
  stats.evictions_dirty = moved.evictions_dirty;
  stats.fetches = moved.fetches;
  stats.prefetch_hits = moved.prefetch_hits;
  stats.early_updates = optimizer_ ? optimizer_->num_early_updates() : 0;
  stats.late_updates = optimizer_ ? optimizer_->num_late_updates() : 0;
  stats.updates_on_gpu = optimizer_ ? optimizer_->num_gpu_updates() : 0;
}

double EngineCore::stalled_ms() const {
  const auto stats = runtime_->residency().stats();
  double sum = 0;
  for (int edge = 0; edge < evict::kNumEdges; ++edge) sum += stall_ms(stats, static_cast<evict::Edge>(edge));
  return sum;
}

StepStats EngineCore::stats_so_far() const {
  StepStats stats = next_;
  count_moves(stats);
  return stats;
}

TierStats EngineCore::look_at(Tier tier) const {
  auto& residency = runtime_->residency();
  const auto& hierarchy = residency.hierarchy();
  if (tier != Tier::kNvme) hierarchy.pool(tier).refresh_foreign();
  TierStats at;
  at.present = true;
  at.limit_bytes = hierarchy.limit_bytes(tier);
  at.bytes_by_kind = residency.content(tier);
  at.used_bytes = evict::sum_of(at.bytes_by_kind);
  at.peak_by_kind = residency.peak_content(tier);
  at.peak_bytes = evict::sum_of(at.peak_by_kind);
  at.peak_activation_bytes = residency.peak_activation_bytes(tier);
  return at;
}

// ---- looking --------------------------------------------------------------------------------------------------------

torch::Tensor EngineCore::parameter(const std::string& name) {
  runtime_->check_failure();
  const auto* record = data_->find(name);
  if (!record) throw StateError(StateError::Cause::kMisuse, "the module has no parameter named '" + name + "'");
  data_->reclaim();
  return data_->copy_out_value(*record);
}

torch::Tensor EngineCore::gradient(const std::string& name) {
  runtime_->check_failure();
  const auto* record = data_->find(name);
  if (!record) throw StateError(StateError::Cause::kMisuse, "the module has no parameter named '" + name + "'");
  if (!record->tensor.grad().defined())
    throw StateError(StateError::Cause::kMisuse,
                     "parameter '" + name + "' has no gradient: none was computed since zero_grad()" +
                         (data_->reuses_places() ? " or step(), which uses it up (placement.grad_mode)" : ""));
  const torch::NoGradGuard no_grad;
  const auto gradient = data_->copy_out(record->tensor.grad().to(torch::kFloat));
  return loss_scaler_.is_active() ? gradient.div_(gradient_scale_) : gradient;
}

torch::Tensor EngineCore::buffer(const std::string& name) {
  runtime_->check_failure();
  const auto buffers = module_->named_buffers();
  const auto* found = buffers.find(name);
  if (!found) throw StateError(StateError::Cause::kMisuse, "the module has no buffer named '" + name + "'");
  return data_->copy_out(*found);
}

std::uint64_t EngineCore::fingerprint() {
  runtime_->check_failure();
  data_->reclaim();
  return asterias::fingerprint(*module_, *data_);
}

void EngineCore::start_trace() { runtime_->residency().start_trace(); }
StepTrace EngineCore::stop_trace() { return runtime_->residency().stop_trace(); }

std::optional<Simulation> EngineCore::simulate(const MoveRates& rates) const {
  return runtime_->residency().simulate(rates);
}
std::optional<RecordedStep> EngineCore::recorded_step() const { return runtime_->residency().recorded_step(); }

// As declared, else as they were in the last step.
MoveRates EngineCore::move_rates() const {
  MoveRates rates = runtime::declared_rates(config_.tiers.gpu.link);
  const auto measure = [](evict::EdgeRate& rate, std::uint64_t bytes, double busy_ms) {
    if (rate.bytes_per_second == 0 && busy_ms > 0) rate.bytes_per_second = static_cast<double>(bytes) / busy_ms * 1e3;
  };
  measure(rates.of(evict::Edge::kH2d), stats_.h2d_bytes, stats_.busy_h2d_ms);
  measure(rates.of(evict::Edge::kD2h), stats_.d2h_bytes, stats_.busy_d2h_ms);
  if (stats_.is_warm_up) return rates;  // what the drive did then is no later step's mix
  for (const auto edge : {evict::Edge::kNvmeRead, evict::Edge::kNvmeWrite})
    measure(rates.of(edge), stats_.nvme_read_bytes + stats_.nvme_write_bytes, stats_.busy_nvme_ms);
  return rates;
}

// How many updates ahead of step() lie on the drive depends on its rate.
MoveRates EngineCore::forecast_rates() const {
  MoveRates rates = runtime::declared_rates(config_.tiers.gpu.link);
  const MoveRates measured = move_rates();
  for (const auto edge : {evict::Edge::kNvmeRead, evict::Edge::kNvmeWrite}) rates.of(edge) = measured.of(edge);
  return rates;
}

// Says what later steps will be like.
void EngineCore::foretell(Plan& plan) const {
  const evict::Simulation forecast = runtime_->residency().forecast(forecast_rates());
  for (auto& tier : plan.tiers) {
    tier.predicted_by_kind = forecast.peak_content[static_cast<std::size_t>(tier.tier)];
    if (tier.tier == Tier::kGpu)
      tier.predicted_by_kind[static_cast<std::size_t>(evict::ContentKind::kLibraries)] =
          runtime_->residency().hierarchy().pool(tier.tier).library_bytes();
    tier.predicted_peak_bytes = evict::sum_of(tier.predicted_by_kind);
    tier.predicted_activation_bytes = forecast.peak_activation_bytes[static_cast<std::size_t>(tier.tier)];
  }
  const auto moved = [&](evict::Edge edge) { return forecast.moved_bytes[static_cast<std::size_t>(edge)]; };
  plan.content_by_kind = forecast.content;
  plan.predicted_h2d_bytes = moved(evict::Edge::kH2d);
  plan.predicted_d2h_bytes = moved(evict::Edge::kD2h);
  plan.predicted_nvme_read_bytes = moved(evict::Edge::kNvmeRead);
  plan.predicted_nvme_write_bytes = moved(evict::Edge::kNvmeWrite);
}

Plan EngineCore::plan() const {
  Plan plan;
  plan.chunk_bytes = data_->chunk_bytes();
  plan.num_chunks = data_->layout().chunks.size();
  plan.model_data_bytes = data_->model_data_bytes();
  plan.state_saved_bytes = data_->state_saved_bytes();
  plan.reused_bytes = data_->reused_bytes();
  plan.num_parameters = data_->num_elements();
  auto& residency = runtime_->residency();
  const auto needs = residency.needs();
  for (const auto& smallest : runtime_->smallest_budgets(false)) {
    const bool is_memory = smallest.tier != Tier::kNvme;
    const int at = static_cast<int>(smallest.tier);
    plan.tiers.push_back({smallest.tier,
                          residency.hierarchy().limit_bytes(smallest.tier),
                          is_memory ? needs.working_set[at] : 0,
                          is_memory ? needs.working_set_at[at] : "",
                          smallest.bytes,
                          0,
                          {},
                          0});
  }
  residency.with_timeline([&](const evict::Timeline& timeline) {
    if (!timeline.plan()) return;
    plan.is_measured = true;
    for (const auto& moment : timeline.plan()->moments) plan.need_bytes_by_moment.push_back(moment.need_bytes);
  });
  if (plan.is_measured) optimizer_->describe(plan);
  if (plan.is_measured) foretell(plan);
  return plan;
}

}  // namespace asterias
