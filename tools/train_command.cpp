#include "tools/train_command.hpp"

#include <chrono>
#include <cstdio>
#include <vector>

#include <asterias/asterias.h>

#include "models/gpt.hpp"
#include "tools/byte_text.hpp"
#include "tools/train_report.hpp"

namespace asterias::tools {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

models::GptOptions model_options(const TrainOptions& options) {
  models::GptOptions model;
  model.sequence = options.sequence;
  model.layers = options.layers;
  model.hidden = options.hidden;
  model.heads = options.heads;
  model.dropout = options.dropout;
  return model;
}

// Hands out batches as tensors of the engine's.
class Batches {
 public:
  Batches(ByteText& text, const TrainOptions& options)
      : text_(text),
        shape_{options.batch, options.sequence},
        inputs_(static_cast<std::size_t>(options.batch * options.sequence)),
        targets_(inputs_) {}

  struct Batch {
    torch::Tensor inputs, targets;  // [batch, sequence], int64
  };

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

// The gradient of a step is the mean over its passes, as one larger batch would give it.
void train_step(Engine<models::GptImpl>& engine, Optimizer& optimizer, Batches& batches, std::int64_t num_passes) {
  optimizer.zero_grad();
  for (std::int64_t pass = 0; pass < num_passes; ++pass) {
    const auto batch = batches.next();
    auto loss = models::next_token_loss(engine(batch.inputs), batch.targets);
    if (num_passes > 1) loss = loss / static_cast<double>(num_passes);
    engine.backward(loss);
  }
  optimizer.step();
}

}  // namespace

void run_train(const TrainOptions& options) {
  const auto start = Clock::now();
  ByteText text(options.data_path, options.sequence, options.seed);
  Batches batches(text, options);
  RunLog log(options.log_dir, options.config);
  TrainReport report(options);

  if (options.threads > 0) torch::set_num_threads(options.threads);
  torch::manual_seed(options.seed);
  auto [engine, optimizer] =
      initialize_engine([&] { return std::make_shared<models::GptImpl>(model_options(options)); }, options.config);
  report.print_header(engine.plan(), text.num_bytes(), torch::get_num_threads());

  for (std::int64_t step = 0; step < options.steps; ++step) {
    const auto step_start = Clock::now();
    train_step(engine, optimizer, batches, options.accumulate);
    report.print_step(engine.stats(), ms_since(step_start));
    log.add(engine.stats());
  }

  const std::uint64_t fingerprint = engine.fingerprint();
  report.print_summary(ms_since(start) / 1e3);
  std::printf("fingerprint %016llx\n", static_cast<unsigned long long>(fingerprint));
  std::fflush(stdout);
}

}  // namespace asterias::tools
