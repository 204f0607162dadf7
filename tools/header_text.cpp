#include "tools/header_text.hpp"

#include <string_view>

#include "tools/model_presets.hpp"
#include "tools/number_text.hpp"
#include "tools/version_text.hpp"

namespace asterias::tools {
namespace {

long long integer(std::int64_t value) { return value; }

const char* optimizer_text(OptimizerType type) {
  switch (type) {
    case OptimizerType::kAdam: return "Adam";
    case OptimizerType::kAdamW: return "AdamW";
    case OptimizerType::kSgd: return "SGD";
  }
  return "?";
}

// ", bf16 with fp32 masters"; nothing in fp32.
std::string precision_text(const EngineConfig& config) {
  if (!config.bf16.enabled && !config.fp16.enabled) return "";
  return std::string(config.bf16.enabled ? ", bf16" : ", fp16") + " with fp32 masters";
}

std::string counted(std::int64_t count, const char* what) {
  return printf_text("%lld %s%s", integer(count), what, count == 1 ? "" : "s");
}

// " 125m", " 7b", if flags left that shape as it is.
std::string preset_text(const TrainOptions& options) {
  auto preset = find_preset(options.preset);
  if (!preset || preset->kind != options.model.kind) return "";
  preset->sequence = options.model.sequence;
  preset->dropout = options.model.dropout;
  const bool is_whole = preset->gpt() == options.model.gpt() && preset->llama() == options.model.llama();
  constexpr std::string_view kKind = "llama-";
  const std::size_t kind = options.preset.starts_with(kKind) ? kKind.size() : 0;
  return is_whole ? printf_text(" %s", options.preset.c_str() + kind) : "";
}

// ", 8 of keys and values, inner width 14336, theta 500000"
std::string llama_text(const models::LlamaOptions& model) {
  std::string text;
  if (model.kv_heads != model.heads) text += printf_text(", %lld of keys and values", integer(model.kv_heads));
  text += printf_text(", inner width %lld", integer(model.intermediate));
  if (model.rope_theta != models::LlamaOptions().rope_theta) text += printf_text(", theta %g", model.rope_theta);
  return text;
}

std::string training_text(const TrainOptions& options) {
  const auto& config = options.config;
  std::string text =
      printf_text("%s of %lld tokens", counted(options.steps, "step").c_str(), integer(options.tokens_per_step()));
  if (options.accumulate > 1) text += printf_text(" in %lld passes", integer(options.accumulate));
  text += precision_text(config);
  text += printf_text(", %s, lr %g", optimizer_text(config.optimizer.type), config.optimizer.params.lr.value_or(0));
  if (options.schedule.decay != LrDecay::kConstant)
    text += printf_text(" %s to %g", lr_decay_name(options.schedule.decay).data(), options.schedule.min_lr);
  if (options.schedule.warmup_steps > 0)
    text += printf_text(" after %s of warm-up", counted(options.schedule.warmup_steps, "step").c_str());
  const double clipping = config.gradient_clipping.value_or(0);
  if (clipping > 0) text += printf_text(", clipping at %g", clipping);
  const double decay = config.optimizer.params.weight_decay.value_or(0);
  if (decay > 0) text += printf_text(", decay %g", decay);
  return text + printf_text(", seed %llu", static_cast<unsigned long long>(options.seed));
}

std::string budgets_text(const RunStart& start) {
  std::string text;
  for (const auto& tier : start.plan.tiers)
    text += (text.empty() ? "" : ", ") + std::string(tier_name(tier.tier)) + " " + limit_text(tier.limit_bytes);
  const auto& paths = start.options.config.tiers.nvme.paths;
  for (const auto& path : paths) text += (&path == &paths.front() ? " in " : ", ") + path;
  return text;
}

}  // namespace

std::string model_text(const TrainOptions& options) {
  const auto& model = options.model;
  std::string text =
      printf_text("%s%s, %s, hidden %lld, %s", model.is_llama() ? "Llama" : "GPT", preset_text(options).c_str(),
                  counted(model.layers, "layer").c_str(), integer(model.hidden), counted(model.heads, "head").c_str());
  if (model.is_llama()) text += llama_text(model.llama());
  text += printf_text(", sequences of %lld", integer(model.sequence));
  const ModelOptions bytes;
  if (model.vocabulary != bytes.vocabulary) text += printf_text(", %lld tokens", integer(model.vocabulary));
  if (model.dropout > 0) text += printf_text(", dropout %g", model.dropout);
  if (options.recompute) text += ", blocks recomputed";
  return text;
}

std::string header_text(const RunStart& start) {
  const auto& options = start.options;
  const auto& config = options.config;
  std::string text = "asterias " + program_version() + "\n\n";
  text += "data       " + options.data_path + " (" + bytes_text(start.data_bytes);
  if (options.validation.split > 0)
    text += printf_text(", the last %g %% for validation", 100 * options.validation.split);
  text += ")\nmodel      " + model_text(options) + "\n";
  text += "           " + count_text(start.plan.num_parameters) + " parameters; model data " +
          bytes_text(start.plan.model_data_bytes) + " in chunks of " + bytes_text(start.plan.chunk_bytes) + "\n";
  if (start.plan.reused_bytes > 0)
    text +=
        "           gradients take their parameters' places, which saves " + bytes_text(start.plan.reused_bytes) + "\n";
  text += "training   " + training_text(options) + "\n";
  text += "device     " + config.resolved_device() +
          printf_text(", %d thread%s, update in ", start.num_threads, start.num_threads == 1 ? "" : "s") +
          update_simd_target() + "\n";
  return text + "budgets    " + budgets_text(start) + "\n";
}

}  // namespace asterias::tools
