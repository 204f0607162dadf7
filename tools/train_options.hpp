// What `asterias train` was asked to do, complete and consistent: flags, configuration file and overrides in one value.
//
// Knows nothing of the command line (train_flags.hpp reads that) and nothing of torch.
//
// Threading: a plain value.
#pragma once

#include <cstdint>
#include <string>

#include "models/gpt_options.hpp"
#include "runtime/config.hpp"

namespace asterias::tools {

struct TrainOptions {
  std::string data_path;
  models::GptOptions model;
  // The training. A step is `accumulate` passes over `batch` sequences each.
  std::int64_t batch = 8;
  std::int64_t accumulate = 1;
  std::int64_t steps = 100;
  std::uint64_t seed = 1;
  int threads = 0;      // of torch's operators; 0: torch's own choice
  std::string log_dir;  // empty: no logs
  EngineConfig config;

  std::int64_t tokens_per_step() const { return batch * accumulate * model.sequence; }
};

}  // namespace asterias::tools
