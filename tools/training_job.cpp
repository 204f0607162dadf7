#include "tools/training_job.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <asterias/asterias.h>

#include "models/gpt.hpp"
#include "models/llama.hpp"
#include "tools/byte_text.hpp"
#include "tools/text_sampler.hpp"
#include "tools/text_windows.hpp"

namespace asterias::tools {
namespace {

using EngineAndOptimizer = Initialized<models::LanguageModel>;

struct Batch {
  torch::Tensor inputs, targets;  // [batch, sequence], int64
};

// Makes tensors of the engine's from token ids.
class BatchMaker {
 public:
  explicit BatchMaker(const TrainOptions& options)
      : shape_{options.batch, options.model.sequence},
        inputs_(static_cast<std::size_t>(options.batch * options.model.sequence)),
        targets_(inputs_) {}

  BatchSpans spans() { return {inputs_, targets_}; }
  Batch batch(torch::Device device) { return {tensor_of(inputs_, device), tensor_of(targets_, device)}; }

 private:
  torch::Tensor tensor_of(std::vector<std::int64_t>& tokens, torch::Device device) const {
    const auto here = torch::from_blob(tokens.data(), shape_, torch::kLong);
    return device.is_cpu() ? here.clone() : here.to(device);
  }

  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> inputs_, targets_;
};

std::shared_ptr<models::LanguageModel> model_of(const ModelOptions& options) {
  if (options.is_llama()) return std::make_shared<models::LlamaImpl>(options.llama());
  return std::make_shared<models::GptImpl>(options.gpt());
}

std::shared_ptr<models::LanguageModel> make_model(const TrainOptions& options) {
  auto model = model_of(options.model);
  if (options.recompute)
    model->wrap_blocks([](const auto& block, const torch::Tensor& x) { return checkpoint(block, x); });
  return model;
}

EngineAndOptimizer build(const TrainOptions& options) {
  if (options.threads > 0) torch::set_num_threads(options.threads);
  torch::manual_seed(options.seed);
  return initialize_engine([&] { return make_model(options); }, options.config);
}

std::vector<double> rates_of(Optimizer& optimizer) {
  std::vector<double> rates;
  for (const auto& group : optimizer.param_groups()) rates.push_back(group.options().get_lr());
  return rates;
}

// No gradients and no dropout while it lives.
class Evaluation {
 public:
  explicit Evaluation(Engine<models::LanguageModel>& engine) : engine_(engine) { engine_.eval(); }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;
  ~Evaluation() { engine_.train(); }

 private:
  const torch::NoGradGuard no_grad_;
  Engine<models::LanguageModel>& engine_;
};

}  // namespace

struct TrainingJob::Parts {
  explicit Parts(const TrainOptions& train_options)
      : options(train_options),
        text(options.data_path),
        split(split_text(text, options.validation.split, options.model.sequence)),
        training(text, split.training, options.model.sequence, options.seed),
        validation(text, split.validation, options.model.sequence, options.batch * options.validation.num_batches),
        maker(options),
        sampler(options.sampling.temperature, options.seed),
        initialized(build(options)),
        rates(rates_of(initialized.optimizer)) {}

  const TrainOptions options;
  ByteText text;
  TextSplit split;
  RandomWindows training;
  EvenWindows validation;
  BatchMaker maker;
  TextSampler sampler;
  EngineAndOptimizer initialized;
  std::vector<double> rates;  // of the param groups, as configured
  torch::Tensor loss;         // of the pass between forward() and backward()
};

TrainingJob::TrainingJob(const TrainOptions& options) : parts_(std::make_unique<Parts>(options)) {}

TrainingJob::~TrainingJob() = default;

void TrainingJob::begin_step(double lr_factor) {
  auto& optimizer = parts_->initialized.optimizer;
  optimizer.zero_grad();
  for (std::size_t group = 0; group < parts_->rates.size(); ++group)
    optimizer.param_groups()[group].options().set_lr(parts_->rates[group] * lr_factor);
}

double TrainingJob::forward() {
  parts_->training.next_batch(parts_->maker.spans());
  const Batch batch = parts_->maker.batch(parts_->initialized.engine.device());
  parts_->loss = models::next_token_loss(parts_->initialized.engine(batch.inputs), batch.targets);
  return parts_->loss.item<double>();
}

void TrainingJob::backward() {
  const torch::Tensor loss = std::exchange(parts_->loss, {});
  const std::int64_t num_passes = parts_->options.accumulate;
  parts_->initialized.engine.backward(num_passes > 1 ? loss / static_cast<double>(num_passes) : loss);
}

double TrainingJob::run_pass() {
  const double loss = forward();
  backward();
  return loss;
}

void TrainingJob::update() { parts_->initialized.optimizer.step(); }

double TrainingJob::validation_loss() {
  auto& engine = parts_->initialized.engine;
  const Evaluation evaluation(engine);
  const std::int64_t num_batches = parts_->options.validation.num_batches;
  double sum = 0;
  for (std::int64_t i = 0; i < num_batches; ++i) {
    parts_->validation.batch_at(i * parts_->options.batch, parts_->maker.spans());
    const Batch batch = parts_->maker.batch(engine.device());
    sum += models::next_token_loss(engine(batch.inputs), batch.targets).item<double>();
  }
  return sum / static_cast<double>(num_batches);
}

std::string TrainingJob::sample_text() {
  auto& engine = parts_->initialized.engine;
  const Evaluation evaluation(engine);
  const auto& options = parts_->options;
  std::string text = options.sampling.prompt;
  for (std::int64_t i = 0; i < options.sampling.num_tokens; ++i) {
    // What is longer than a sequence slides out at the front.
    const auto size = std::min(text.size(), static_cast<std::size_t>(options.model.sequence));
    std::vector<std::int64_t> tokens;
    for (const char byte : text.substr(text.size() - size)) tokens.push_back(static_cast<unsigned char>(byte));
    const auto inputs = torch::tensor(tokens, torch::kLong).unsqueeze(0).to(engine.device());
    const auto logits = engine(inputs)[0][-1].to(torch::kFloat).cpu().contiguous();
    const auto pin = engine.pin(logits);
    text += static_cast<char>(
        parts_->sampler.pick({logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())}));
  }
  return text;
}

Plan TrainingJob::plan() const { return parts_->initialized.engine.plan(); }

const StepStats& TrainingJob::stats() const { return parts_->initialized.engine.stats(); }

std::optional<Simulation> TrainingJob::simulate(const MoveRates& rates) const {
  return parts_->initialized.engine.simulate(rates);
}

std::optional<RecordedStep> TrainingJob::recorded_step() const { return parts_->initialized.engine.recorded_step(); }

StepStats TrainingJob::stats_so_far() const { return parts_->initialized.engine.stats_so_far(); }

std::uint64_t TrainingJob::fingerprint() { return parts_->initialized.engine.fingerprint(); }

void TrainingJob::start_trace() { parts_->initialized.engine.start_trace(); }

StepTrace TrainingJob::stop_trace() { return parts_->initialized.engine.stop_trace(); }

std::uint64_t TrainingJob::data_bytes() const { return parts_->text.num_bytes(); }

int TrainingJob::num_threads() const { return torch::get_num_threads(); }

}  // namespace asterias::tools
