#include "tools/train_flags.hpp"

#include <charconv>
#include <string>

#include <CLI/CLI.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::tools {
namespace {

constexpr double kDefaultLr = 1e-3;
constexpr double kDefaultClipping = 1.0;

// Accepts whole numbers from `least` on. CLI11's own messages name C++ types; these say what to write.
CLI::Validator whole_number(std::int64_t least) {
  const auto check = [least](const std::string& text) -> std::string {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= least) return "";
    return "'" + text + "' is not a whole number of " + std::to_string(least) + " or more";
  };
  return {check, "", "whole number"};
}

// Accepts numbers from 0 up to `bound`.
CLI::Validator number_below(double bound, const char* wants) {
  const auto check = [bound, wants](const std::string& text) -> std::string {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0' && value >= 0 && value < bound) return "";
    return "'" + text + "' is not " + wants;
  };
  return {check, "", "number"};
}

CLI::Validator byte_size() {
  const auto check = [](const std::string& text) -> std::string {
    if (parse_bytes(text).value_or(0) > 0) return "";
    return "'" + text + "' is not a size above 0; write 512MiB, 8GiB or 1.5GB";
  };
  return {check, "", "size"};
}

void set_limit(ByteLimit& limit, const std::string& text) {
  if (!text.empty()) limit = ByteLimit{parse_bytes(text), std::nullopt};
}

// Makes the three batch sizes agree: what is missing follows from what is there.
void resolve_batches(EngineConfig& config, TrainOptions& options) {
  auto& total = config.train_batch_size;
  auto& micro = config.train_micro_batch_size_per_gpu;
  auto& passes = config.gradient_accumulation_steps;
  config.validate();  // of three that are set, the product must be right
  if (passes <= 0) passes = total > 0 && micro > 0 ? total / micro : 1;
  if (micro <= 0) micro = total > 0 ? total / passes : options.batch;
  if (total > 0 && micro * passes != total)
    throw ConfigError("train_batch_size: " + std::to_string(total) + " sequences cannot be divided into " +
                      std::to_string(passes) + " passes of " + std::to_string(micro));
  total = micro * passes;
  options.batch = micro;
  options.accumulate = passes;
}

}  // namespace

void TrainFlags::declare(CLI::App& command) {
  command.option_defaults()->take_last();  // so that a script's flags can be overridden by appending
  const auto number = [&](const char* name, std::int64_t& value, const char* text, std::int64_t least = 1) {
    return command.add_option(name, value, text)->check(whole_number(least))->type_name("N")->capture_default_str();
  };
  command.add_option("--data", options_.data_path, "text to learn; every byte is a token")
      ->required()
      ->type_name("FILE");

  number("--layers", options_.model.layers, "transformer blocks")->group("Model");
  number("--hidden", options_.model.hidden, "width, a multiple of --heads")->group("Model");
  number("--heads", options_.model.heads, "attention heads")->group("Model");
  number("--seq", options_.model.sequence, "tokens per sequence")->group("Model");
  command.add_option("--dropout", options_.model.dropout, "probability of dropout")
      ->check(number_below(1, "a probability from 0 to below 1"))
      ->type_name("P")
      ->capture_default_str()
      ->group("Model");

  command.add_option("--batch", batch_, "sequences per pass")
      ->check(whole_number(1))
      ->type_name("N")
      ->default_str("8")
      ->group("Training");
  command.add_option("--accumulate", accumulate_, "passes per step")
      ->check(whole_number(1))
      ->type_name("N")
      ->default_str("1")
      ->group("Training");
  number("--steps", options_.steps, "optimizer steps")->group("Training");
  command.add_option("--lr", lr_, "learning rate of AdamW")
      ->check(number_below(1e9, "a learning rate, 0 or more"))
      ->type_name("X")
      ->default_str("0.001")
      ->group("Training");
  command.add_option("--seed", options_.seed, "of weights, dropout and batches")
      ->check(whole_number(0))
      ->type_name("N")
      ->capture_default_str()
      ->group("Training");
  command.add_option("--threads", options_.threads, "threads of torch's operators; unset: torch's choice")
      ->check(whole_number(1) &
              CLI::Validator(
                  [](const std::string& text) { return text.size() > 4 ? "'" + text + "' is too many" : ""; }, "", ""))
      ->type_name("N")
      ->group("Training");

  command.add_option("--device", device_, "where the model computes: auto, cpu or simulated")
      ->type_name("NAME")
      ->default_str("auto")
      ->group("Budgets");
  const auto limit = [&](const char* name, std::string& value, const char* text) {
    command.add_option(name, value, text)->check(byte_size())->type_name("SIZE")->group("Budgets");
  };
  limit("--cpu-limit", cpu_limit_, "DRAM of the whole process, libraries included");
  limit("--gpu-limit", gpu_limit_, "memory of the accelerator; simulated needs it");
  limit("--nvme-limit", nvme_limit_, "room for swap files");
  command.add_option("--nvme-path", nvme_path_, "folder for swap files, on a drive")
      ->type_name("DIR")
      ->group("Budgets");

  command.add_option("--config", config_path_, "configuration in JSON (docs/config.md); flags override it")
      ->type_name("FILE")
      ->group("Configuration and logs");
  command.add_option("--set", overrides_, "override one key, e.g. placement.eviction=lru; repeatable, applied last")
      ->type_name("a.b=c")
      ->take_all()
      ->allow_extra_args(false)
      ->group("Configuration and logs");
  command.add_option("--log-dir", options_.log_dir, "folder for steps.jsonl and config.resolved.json; made if missing")
      ->type_name("DIR")
      ->group("Configuration and logs");
}

TrainOptions TrainFlags::resolve() const {
  TrainOptions options = options_;
  options.config = engine_config();
  std::vector<std::string> complaints;
  if (options.model.hidden % options.model.heads != 0)
    complaints.push_back("--hidden " + std::to_string(options.model.hidden) + " is not a multiple of --heads " +
                         std::to_string(options.model.heads));
  try {
    resolve_batches(options.config, options);
  } catch (const ConfigError& error) {
    complaints.insert(complaints.end(), error.complaints().begin(), error.complaints().end());
  }
  if (!complaints.empty()) throw ConfigError(complaints);
  return options;
}

EngineConfig TrainFlags::engine_config() const {
  EngineConfig config = config_path_.empty() ? EngineConfig{} : EngineConfig::from_file(config_path_);
  if (!config.gradient_clipping) config.gradient_clipping = kDefaultClipping;
  if (!config.optimizer.params.lr) config.optimizer.params.lr = kDefaultLr;
  apply_flags(config);
  for (const auto& assignment : overrides_) config.set(assignment);
  return config;
}

void TrainFlags::apply_flags(EngineConfig& config) const {
  if (lr_) config.optimizer.params.lr = *lr_;
  if (batch_) config.train_micro_batch_size_per_gpu = *batch_;
  if (accumulate_) config.gradient_accumulation_steps = *accumulate_;
  // A total in the file belongs to the sizes beside it there.
  if (batch_ && (accumulate_ || config.gradient_accumulation_steps > 0)) config.train_batch_size = 0;
  if (!device_.empty()) config.device = device_;
  set_limit(config.tiers.gpu.limit, gpu_limit_);
  set_limit(config.tiers.cpu.limit, cpu_limit_);
  set_limit(config.tiers.nvme.limit, nvme_limit_);
  if (!nvme_path_.empty()) config.tiers.nvme.paths = {nvme_path_};
}

}  // namespace asterias::tools
