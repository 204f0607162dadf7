// The flags of `asterias train`, and how they, the configuration file and the overrides become TrainOptions.
//
// Precedence, weakest first: defaults, --config, other flags, --set in the order given.
//
// Threading: main thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/train_options.hpp"

namespace CLI {
class App;
}

namespace asterias::tools {

class TrainFlags {
 public:
  // Declares the flags. `command` must not outlive this object: CLI11 writes the values here.
  void declare(CLI::App& command);

  // Joins everything once the command line is parsed. Throws ConfigError with every complaint about the whole.
  TrainOptions resolve() const;

 private:
  EngineConfig engine_config() const;
  void apply_flags(EngineConfig& config) const;

  TrainOptions options_;  // of these, batch and accumulate are left to the configuration
  std::optional<std::int64_t> batch_, accumulate_;
  std::optional<double> lr_;
  std::string device_, nvme_path_, config_path_;
  std::string gpu_limit_, cpu_limit_, nvme_limit_;
  std::vector<std::string> overrides_;
};

}  // namespace asterias::tools
