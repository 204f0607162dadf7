#include "tools/train_flags.hpp"

#include <algorithm>
#include <string>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "tools/flag_checks.hpp"
#include "tools/model_presets.hpp"

namespace asterias::tools {
namespace {

constexpr double kDefaultLr = 1e-3;
constexpr double kDefaultClipping = 1.0;
constexpr double kDefaultWeightDecay = 0.1;  // GPT-3 (Brown et al. 2020, appendix B)
constexpr double kDefaultValidationSplit = 0.05;
constexpr std::int64_t kNumByteTokens = 256;
constexpr int kMostThreads = 9999;

std::string text(std::int64_t number) { return std::to_string(number); }

void set_limit(EngineConfig& config, const char* tier, const std::string& limit) {
  if (!limit.empty()) config.set("tiers." + std::string(tier) + ".limit=" + limit);
}

void add_complaints(std::vector<std::string>& complaints, const ConfigError& error) {
  complaints.insert(complaints.end(), error.complaints().begin(), error.complaints().end());
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
    throw ConfigError("train_batch_size: " + text(total) + " sequences cannot be divided into " + text(passes) +
                      " passes of " + text(micro));
  total = micro * passes;
  options.batch = micro;
  options.accumulate = passes;
}

// The usual groups: matrices decay, embeddings included, biases and norms do not.
void add_decay_groups(OptimizerConfig& optimizer) {
  if (!optimizer.param_groups.empty()) return;
  if (!optimizer.params.weight_decay && optimizer.type == OptimizerType::kAdamW)
    optimizer.params.weight_decay = kDefaultWeightDecay;
  if (optimizer.params.weight_decay.value_or(0) == 0) return;
  ParamGroupConfig without_decay{{"*.bias", "*norm*.weight"}, {}};
  without_decay.params.weight_decay = 0;
  optimizer.param_groups.push_back(without_decay);
}

CLI::Option* add_number(CLI::App& command, const char* name, std::int64_t& value, const char* meaning,
                        std::int64_t least) {
  return command.add_option(name, value, meaning)->check(whole_number(least))->type_name("N")->capture_default_str();
}

template <class T>
CLI::Option* add_optional(CLI::App& command, const char* name, std::optional<T>& value, const char* meaning,
                          const CLI::Validator& check, const char* type, const std::string& default_text) {
  return command.add_option(name, value, meaning)->check(check)->type_name(type)->default_str(default_text);
}

std::string json_content(TrainFlags::Purpose purpose) {
  return purpose == TrainFlags::Purpose::kTrain ? "a line for the plan, each step, the summary" : "one object";
}

}  // namespace

void TrainFlags::declare(CLI::App& command, Purpose purpose) {
  command.option_defaults()->take_last();  // so that a script's flags can be overridden by appending
  command.add_option("--data", options_.data_path, "text to learn; every byte is a token")
      ->required()
      ->type_name("FILE");
  declare_model(command);
  declare_training(command);
  declare_optimizer(command);
  if (purpose == Purpose::kTrain) declare_validation(command);
  declare_budgets(command);
  declare_files(command);
  if (purpose == Purpose::kTrain) declare_logs(command);
  if (purpose == Purpose::kPlan)
    command
        .add_option("--save-script", options_.script_path, "file for the measured step, to be replayed by bench_replay")
        ->type_name("FILE");
  command.add_flag("--json", is_json_, "print JSON only: " + json_content(purpose));
}

void TrainFlags::declare_model(CLI::App& command) {
  command.option_defaults()->group("Model");
  const CLI::Validator known_preset(
      [](const std::string& name) { return find_preset(name) ? "" : "'" + name + "' is none of " + preset_names(); },
      "", "preset");
  command.add_option("--preset", options_.preset, "shape by name: " + preset_names())
      ->check(known_preset)
      ->type_name("SIZE");
  command.add_option("--model", model_, "gpt or llama; unset, with --preset: the preset's")
      ->check(CLI::IsMember({"gpt", "llama"}))
      ->option_text("NAME=gpt");
  const ModelOptions defaults;
  const auto shape = [&](const char* name, std::optional<std::int64_t>& value, const char* meaning, std::int64_t least,
                         std::int64_t default_value) {
    add_optional(command, name, value, meaning, whole_number(least), "N", text(default_value));
  };
  shape("--layers", layers_, "transformer blocks", 1, defaults.layers);
  shape("--hidden", hidden_, "width, a multiple of --heads", 1, defaults.hidden);
  shape("--heads", heads_, "attention heads", 1, defaults.heads);
  shape("--vocab", vocabulary_, "tokens the model knows; the text uses the first 256", kNumByteTokens,
        defaults.vocabulary);
  add_number(command, "--seq", options_.model.sequence, "tokens per sequence", 1);
  command.add_option("--dropout", options_.model.dropout, "a GPT's probability of dropout")
      ->check(number_below(1, "a probability from 0 to below 1"))
      ->type_name("P")
      ->capture_default_str();
  add_optional(command, "--kv-heads", kv_heads_, "a Llama's heads of keys and values; unset: --heads", whole_number(1),
               "N", "");
  add_optional(command, "--intermediate", intermediate_, "a Llama's inner width; unset: as published for --hidden",
               whole_number(1), "N", "");
  add_optional(command, "--rope-theta", rope_theta_, "base of a Llama's rotary positions", whole_number(1), "N",
               "10000");
}

void TrainFlags::declare_training(CLI::App& command) {
  command.option_defaults()->group("Training");
  add_optional(command, "--batch", batch_, "sequences per pass", whole_number(1), "N", "8");
  add_optional(command, "--accumulate", accumulate_, "passes per step", whole_number(1), "N", "1");
  auto* steps = add_number(command, "--steps", options_.steps, "optimizer steps", 1);
  command.add_option("--tokens", tokens_, "train on as many tokens, rounded up to whole steps")
      ->check(whole_number(1))
      ->option_text("N")
      ->excludes(steps);
  steps->option_text("N=100");
  command.add_option("--seed", options_.seed, "of weights, dropout, batches and samples")
      ->check(whole_number(0))
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--precision", precision_,
                  "of weights and activations: fp32, bf16, fp16; the last two with fp32 masters")
      ->check(CLI::IsMember({"fp32", "bf16", "fp16"}))
      ->option_text("NAME=fp32");
  command.add_option("--threads", options_.threads, "threads of torch's operators; unset: torch's choice")
      ->check(whole_number(1, kMostThreads))
      ->type_name("N");
}

void TrainFlags::declare_optimizer(CLI::App& command) {
  command.option_defaults()->group("Optimizer");
  const auto rate = number_at_least_0();
  add_optional(command, "--lr", lr_, "learning rate", rate, "X", "0.001");
  command.add_option("--schedule", decay_, "after the warm-up: constant, linear or cosine, down to --min-lr")
      ->check(CLI::Validator(
          [](const std::string& name) {
            return find_lr_decay(name) ? "" : "'" + name + "' is none of constant, linear, cosine";
          },
          "", "schedule"))
      ->type_name("NAME")
      ->capture_default_str();
  add_number(command, "--warmup", options_.schedule.warmup_steps, "steps over which the rate rises", 0);
  command.add_option("--min-lr", options_.schedule.min_lr, "rate at the last step of a linear or cosine schedule")
      ->check(rate)
      ->type_name("X")
      ->capture_default_str();
  command.add_option("--betas", betas_, "of Adam; GPT-3 took 0.9,0.95")
      ->delimiter(',')
      ->expected(2)
      ->check(number_below(1, "a number from 0 to below 1"))
      ->option_text("B1,B2=0.9,0.999");
  add_optional(command, "--weight-decay", weight_decay_, "of matrices and embeddings; biases and norms have none", rate,
               "X", "0.1");
  command.add_option("--state-dtype", state_dtype_, "how Adam's moments are stored: fp32, bf16 or 8bit")
      ->check(CLI::IsMember({"fp32", "bf16", "8bit"}))
      ->option_text("NAME=fp32");
  add_optional(command, "--clip", clip_, "clip gradients to this norm; 0: off", rate, "X", "1");
}

void TrainFlags::declare_validation(CLI::App& command) {
  command.option_defaults()->group("Validation and samples (neither changes what is learnt)");
  add_optional(command, "--val-split", val_split_,
               "share of the text's end to validate on, never trained on; 0.05 with --val-every",
               number_below(1, "a share from 0 to below 1"), "X", "0")
      ->option_text("X=0|0.05");
  command.add_option("--val-every", options_.validation.every, "validate after every N steps; unset: after the last")
      ->check(whole_number(1))
      ->type_name("N");
  add_number(command, "--val-batches", options_.validation.num_batches, "batches of a validation", 1);
  command.add_option("--sample-every", options_.sampling.every, "print a text by the model after every N steps")
      ->check(whole_number(1))
      ->type_name("N");
  add_number(command, "--sample-tokens", options_.sampling.num_tokens, "its length; each token takes a forward pass",
             1);
  command.add_option("--prompt", options_.sampling.prompt, "what it begins with; unset: a new line")
      ->type_name("TEXT")
      ->check(CLI::Validator([](const std::string& prompt) { return prompt.empty() ? "the prompt is empty" : ""; }, "",
                             "prompt"));
  command.add_option("--temperature", options_.sampling.temperature, "0: always the likeliest; 1: as the model has it")
      ->check(number_at_least_0())
      ->type_name("X")
      ->capture_default_str();
}

void TrainFlags::declare_budgets(CLI::App& command) {
  command.option_defaults()->group("Budgets");
  command.add_option("--device", device_, "where the model computes: auto, cpu, simulated or cuda:N")
      ->type_name("NAME")
      ->default_str("auto");
  const auto limit = [&](const char* name, std::string& value, const char* meaning) {
    command.add_option(name, value, meaning)->check(byte_limit())->type_name("SIZE");
  };
  limit("--cpu-limit", cpu_limit_, "DRAM of the whole process, libraries included");
  limit("--gpu-limit", gpu_limit_, "memory of the accelerator; simulated needs it");
  limit("--nvme-limit", nvme_limit_, "room for swap files");
  command.add_option("--nvme-path", nvme_path_, "folder for swap files, on a drive")->type_name("DIR");
  command
      .add_option("--activations", activations_,
                  "auto: may leave a full compute tier; keep: stay; offload: leave early")
      ->check(CLI::Validator(
          [](const std::string& name) {
            return name == "auto" || name == "keep" || name == "offload"
                       ? ""
                       : "'" + name + "' is none of auto, keep, offload";
          },
          "", "placement"))
      ->type_name("NAME")
      ->default_str("auto");
  command.add_flag("--recompute", options_.recompute, "compute each block's activations again instead of keeping them");
  command
      .add_option("--grad-mode", grad_mode_, "where gradients lie: separate, or reuse: in 16-bit parameters' places")
      ->check(CLI::IsMember({"separate", "reuse"}))
      ->option_text("NAME=separate");
}

void TrainFlags::declare_files(CLI::App& command) {
  command.option_defaults()->group("Configuration and output");
  command.add_option("--config", config_path_, "configuration in JSON (docs/config.md); flags override it")
      ->type_name("FILE");
  command.add_option("--set", overrides_, "override one key, e.g. placement.eviction=lru; repeatable, applied last")
      ->type_name("a.b=c")
      ->take_all()
      ->allow_extra_args(false);
}

void TrainFlags::declare_logs(CLI::App& command) {
  command.add_option("--log-dir", options_.log_dir, "folder for the log files (docs/logs.md); made if missing")
      ->type_name("DIR");
  command.add_option("--trace-steps", trace_steps_, "steps to record for trace.json; unset, with --log-dir: 3")
      ->delimiter(',')
      ->check(whole_number(1))
      ->type_name("N,N")
      ->expected(1, 1'000'000)
      ->take_all();
  command.add_flag("--quiet", is_quiet_, "print the fingerprint only");
}

TrainOptions TrainFlags::resolve() const {
  TrainOptions options = options_;
  options.schedule.decay = find_lr_decay(decay_).value_or(LrDecay::kConstant);
  options.output = is_json_ ? OutputKind::kJson : is_quiet_ ? OutputKind::kQuiet : OutputKind::kText;
  std::vector<std::string> complaints;
  options.config = engine_config(complaints);
  const bool is_config_whole = complaints.empty();  // else what depends on it would be complained of, wrongly
  if (is_quiet_ && is_json_) complaints.emplace_back("--quiet and --json exclude each other");
  if (betas_.size() == 1) complaints.emplace_back("--betas wants two numbers, such as 0.9,0.95");
  resolve_model(options, complaints);
  resolve_validation(options, complaints);
  if (is_config_whole) resolve_steps(options, complaints);
  if (!complaints.empty()) throw ConfigError(complaints);
  return options;
}

void TrainFlags::resolve_model(TrainOptions& options, std::vector<std::string>& complaints) const {
  auto model = find_preset(options.preset).value_or(ModelOptions{});
  model.sequence = options.model.sequence;
  model.dropout = options.model.dropout;
  model.kind = find_model_kind(model_).value_or(model.kind);
  model.layers = layers_.value_or(model.layers);
  model.hidden = hidden_.value_or(model.hidden);
  model.heads = heads_.value_or(model.heads);
  model.vocabulary = vocabulary_.value_or(model.vocabulary);
  if (kv_heads_) model.kv_heads = kv_heads_;
  if (intermediate_) model.intermediate = intermediate_;
  model.rope_theta = rope_theta_.value_or(model.rope_theta);
  check_model(model, complaints);
  options.model = model;
}

void TrainFlags::check_model(const ModelOptions& model, std::vector<std::string>& complaints) const {
  const auto refuse = [&](bool is_wrong, const std::string& why) {
    if (is_wrong) complaints.push_back(why);
  };
  const std::int64_t head_width = model.hidden / model.heads;
  const bool divides = model.hidden % model.heads == 0;
  refuse(!divides, "--hidden " + text(model.hidden) + " is not a multiple of --heads " + text(model.heads));
  if (!model.is_llama()) {
    refuse(kv_heads_ || intermediate_ || rope_theta_,
           "--kv-heads, --intermediate and --rope-theta are a Llama's; give --model llama or a Llama's --preset");
    return;
  }
  const std::int64_t kv_heads = model.llama().kv_heads;
  refuse(divides && head_width % 2 != 0, "--hidden " + text(model.hidden) + " has " + text(model.heads) +
                                             " heads of width " + text(head_width) +
                                             "; rotary positions want an even one");
  refuse(model.heads % kv_heads != 0,
         "--heads " + text(model.heads) + " is not a multiple of --kv-heads " + text(kv_heads));
  refuse(model.dropout > 0, "--dropout is a GPT's; a Llama has none");
}

void TrainFlags::resolve_steps(TrainOptions& options, std::vector<std::string>& complaints) const {
  try {
    resolve_batches(options.config, options);
  } catch (const ConfigError& error) {
    add_complaints(complaints, error);
  }
  resolve_length(options, complaints);
  resolve_traces(options, complaints);
}

// How many steps, and how the rate goes over them.
void TrainFlags::resolve_length(TrainOptions& options, std::vector<std::string>& complaints) const {
  if (tokens_) options.steps = (*tokens_ - 1) / options.tokens_per_step() + 1;
  const auto& schedule = options.schedule;
  const double lr = options.config.optimizer.params.lr.value_or(kDefaultLr);
  if (schedule.warmup_steps > options.steps)
    complaints.push_back("--warmup " + text(schedule.warmup_steps) + " is more than --steps, which is " +
                         text(options.steps));
  if (schedule.min_lr > lr) complaints.push_back("--min-lr is above the learning rate");
  if (schedule.min_lr > 0 && schedule.decay == LrDecay::kConstant)
    complaints.push_back("--min-lr means nothing with a constant rate; give --schedule linear or cosine");
}

void TrainFlags::resolve_validation(TrainOptions& options, std::vector<std::string>& complaints) const {
  auto& validation = options.validation;
  validation.split = val_split_.value_or(validation.every > 0 ? kDefaultValidationSplit : 0);
  if (validation.every > 0 && validation.split == 0) complaints.emplace_back("--val-every needs a --val-split above 0");
}

void TrainFlags::resolve_traces(TrainOptions& options, std::vector<std::string>& complaints) const {
  constexpr std::int64_t kWarmStep = 3;
  options.trace_steps = trace_steps_;
  std::sort(options.trace_steps.begin(), options.trace_steps.end());
  if (options.log_dir.empty()) {
    if (!trace_steps_.empty()) complaints.emplace_back("--trace-steps needs a --log-dir to write trace.json to");
  } else if (trace_steps_.empty()) {
    options.trace_steps = {std::min(kWarmStep, options.steps)};
  } else if (options.trace_steps.back() > options.steps) {
    complaints.push_back("--trace-steps: there is no step " + text(options.trace_steps.back()) + "; the run has " +
                         text(options.steps));
  }
}

EngineConfig TrainFlags::engine_config(std::vector<std::string>& complaints) const {
  const auto collect = [&](const auto& change) {
    try {
      change();
    } catch (const ConfigError& error) {
      add_complaints(complaints, error);
    }
  };
  EngineConfig config;
  collect([&] {
    if (!config_path_.empty()) config = EngineConfig::from_file(config_path_);
  });
  if (!config.gradient_clipping) config.gradient_clipping = kDefaultClipping;
  if (!config.optimizer.params.lr) config.optimizer.params.lr = kDefaultLr;
  apply_flags(config);
  for (const auto& assignment : overrides_) collect([&] { config.set(assignment); });
  add_decay_groups(config.optimizer);
  return config;
}

void TrainFlags::apply_flags(EngineConfig& config) const {
  auto& params = config.optimizer.params;
  if (lr_) params.lr = *lr_;
  if (weight_decay_) params.weight_decay = *weight_decay_;
  if (betas_.size() == 2) params.betas = betas_;
  if (!state_dtype_.empty()) config.set("optimizer.params.state_dtype=\"" + state_dtype_ + "\"");
  if (clip_) config.gradient_clipping = *clip_;
  if (batch_) config.train_micro_batch_size_per_gpu = *batch_;
  if (accumulate_) config.gradient_accumulation_steps = *accumulate_;
  // A total in the file belongs to the sizes beside it there.
  if (batch_ && (accumulate_ || config.gradient_accumulation_steps > 0)) config.train_batch_size = 0;
  if (!precision_.empty()) {
    config.bf16.enabled = precision_ == "bf16";
    config.fp16.enabled = precision_ == "fp16";
  }
  if (!device_.empty()) config.device = device_;
  set_limit(config, "gpu", gpu_limit_);
  set_limit(config, "cpu", cpu_limit_);
  set_limit(config, "nvme", nvme_limit_);
  if (!nvme_path_.empty()) config.tiers.nvme.paths = {nvme_path_};
  if (!activations_.empty()) config.set("placement.activations=" + activations_);
  if (!grad_mode_.empty()) config.set("placement.grad_mode=" + grad_mode_);
}

}  // namespace asterias::tools
