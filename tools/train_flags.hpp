// The flags of `asterias train` and `asterias plan`, and how they, the configuration file and the overrides become
// TrainOptions.
//
// Precedence, weakest first: defaults, --preset, --config, other flags, --set in the order given.
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
  enum class Purpose : std::uint8_t {
    kTrain,
    kPlan,   // without validation, samples, logs and --quiet, of which a plan has nothing
    kBench,  // as kPlan, and without --save-script
  };

  // Declares the flags. `command` must not outlive this object: CLI11 writes the values here.
  void declare(CLI::App& command, Purpose purpose);

  // Joins everything once the command line is parsed. Throws ConfigError with every complaint about the whole.
  TrainOptions resolve() const;

 private:
  void declare_model(CLI::App& command);
  void declare_training(CLI::App& command);
  void declare_optimizer(CLI::App& command);
  void declare_validation(CLI::App& command);
  void declare_budgets(CLI::App& command);
  void declare_files(CLI::App& command);
  void declare_logs(CLI::App& command);

  EngineConfig engine_config(std::vector<std::string>& complaints) const;
  void apply_flags(EngineConfig& config) const;
  void resolve_model(TrainOptions& options, std::vector<std::string>& complaints) const;
  void check_model(const ModelOptions& model, std::vector<std::string>& complaints) const;
  void resolve_steps(TrainOptions& options, std::vector<std::string>& complaints) const;
  void resolve_length(TrainOptions& options, std::vector<std::string>& complaints) const;
  void resolve_validation(TrainOptions& options, std::vector<std::string>& complaints) const;
  void resolve_traces(TrainOptions& options, std::vector<std::string>& complaints) const;

  TrainOptions options_;  // of these, what has a field below is left to resolve()
  std::optional<std::int64_t> layers_, hidden_, heads_, vocabulary_, kv_heads_, intermediate_;
  std::optional<double> rope_theta_;
  std::optional<std::int64_t> batch_, accumulate_, tokens_;
  std::optional<double> lr_, weight_decay_, clip_;
  std::optional<double> val_split_;
  std::vector<double> betas_;
  std::vector<std::int64_t> trace_steps_;
  std::string model_;
  std::string decay_ = "constant";
  std::string precision_, state_dtype_, grad_mode_;
  std::string device_, nvme_path_, activations_, config_path_;
  std::string gpu_limit_, cpu_limit_, nvme_limit_;
  std::vector<std::string> overrides_;
  bool is_quiet_ = false;
  bool is_json_ = false;
};

}  // namespace asterias::tools
