#include "tools/training_job.hpp"

#include <utility>
#include <vector>

#include <asterias/asterias.h>

#include "models/gpt.hpp"
#include "tools/byte_text.hpp"

namespace asterias::tools {
namespace {

using Initialized = asterias::Initialized<models::GptImpl>;

struct Batch {
  torch::Tensor inputs, targets;  // [batch, sequence], int64
};

// Hands out batches as tensors of the engine's.
class Batches {
 public:
  Batches(ByteText& text, const TrainOptions& options)
      : text_(text),
        shape_{options.batch, options.model.sequence},
        inputs_(static_cast<std::size_t>(options.batch * options.model.sequence)),
        targets_(inputs_) {}

  Batch next() {
    text_.next_batch(inputs_, targets_);
    return {tensor_of(inputs_), tensor_of(targets_)};
  }

 private:
  torch::Tensor tensor_of(std::vector<std::int64_t>& tokens) const {
    return torch::from_blob(tokens.data(), shape_, torch::kLong).clone();
  }

  ByteText& text_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> inputs_, targets_;
};

Initialized build(const TrainOptions& options) {
  if (options.threads > 0) torch::set_num_threads(options.threads);
  torch::manual_seed(options.seed);
  return initialize_engine([&] { return std::make_shared<models::GptImpl>(options.model); }, options.config);
}

}  // namespace

struct TrainingJob::Parts {
  explicit Parts(const TrainOptions& train_options)
      : options(train_options),
        text(options.data_path, options.model.sequence, options.seed),
        batches(text, options),
        initialized(build(options)) {}

  const TrainOptions options;
  ByteText text;
  Batches batches;
  Initialized initialized;
};

TrainingJob::TrainingJob(const TrainOptions& options) : parts_(std::make_unique<Parts>(options)) {}

TrainingJob::~TrainingJob() = default;

void TrainingJob::begin_step() { parts_->initialized.optimizer.zero_grad(); }

double TrainingJob::run_pass() {
  auto& engine = parts_->initialized.engine;
  const std::int64_t num_passes = parts_->options.accumulate;
  const Batch batch = parts_->batches.next();
  const auto loss = models::next_token_loss(engine(batch.inputs), batch.targets);
  engine.backward(num_passes > 1 ? loss / static_cast<double>(num_passes) : loss);
  return loss.item<double>();
}

void TrainingJob::update() { parts_->initialized.optimizer.step(); }

Plan TrainingJob::plan() const { return parts_->initialized.engine.plan(); }

const StepStats& TrainingJob::stats() const { return parts_->initialized.engine.stats(); }

std::uint64_t TrainingJob::fingerprint() { return parts_->initialized.engine.fingerprint(); }

std::uint64_t TrainingJob::data_bytes() const { return parts_->text.num_bytes(); }

int TrainingJob::num_threads() const { return torch::get_num_threads(); }

}  // namespace asterias::tools
