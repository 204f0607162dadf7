// What `asterias train` was asked to do, complete and consistent: flags, configuration file and overrides in one value.
//
// Knows nothing of the command line (train_flags.hpp reads that) and nothing of torch.
//
// Threading: a plain value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/config.hpp"
#include "tools/lr_schedule.hpp"
#include "tools/model_options.hpp"

namespace asterias::tools {

// The learning rate itself is the configuration's.
struct ScheduleOptions {
  LrDecay decay = LrDecay::kConstant;
  std::int64_t warmup_steps = 0;
  double min_lr = 0;  // what the default group's rate falls to; the others' fall by the same factor
};

// Loss on text that is never trained on, after every `every` steps and after the last one.
struct ValidationOptions {
  double split = 0;        // share of the text's end; 0: no validation
  std::int64_t every = 0;  // 0: after the last step only
  std::int64_t num_batches = 8;
};

// A short text by the model itself.
struct SamplingOptions {
  std::int64_t every = 0;  // steps; 0: never
  std::int64_t num_tokens = 64;
  std::string prompt = "\n";
  double temperature = 0.8;
};

enum class OutputKind : std::uint8_t {
  kText,
  kQuiet,  // the fingerprint alone
  kJson,   // a line of JSON for each event
};

struct TrainOptions {
  std::string data_path;
  std::string preset;  // the name the model's shape came by, if any
  ModelOptions model;
  bool recompute = false;  // each block's activations are computed again in backward
  // The training. A step is `accumulate` passes over `batch` sequences each.
  std::int64_t batch = 8;
  std::int64_t accumulate = 1;
  std::int64_t steps = 100;
  ScheduleOptions schedule;
  std::uint64_t seed = 1;
  int threads = 0;  // of torch's operators; 0: torch's own choice
  ValidationOptions validation;
  SamplingOptions sampling;
  EngineConfig config;
  // What is told of it.
  OutputKind output = OutputKind::kText;
  std::string log_dir;                    // empty: no logs
  std::string script_path;                // of a plan: where the measured step goes; empty: nowhere
  std::vector<std::int64_t> trace_steps;  // recorded into the log folder; ascending

  std::int64_t tokens_per_step() const { return batch * accumulate * model.sequence; }
};

}  // namespace asterias::tools
