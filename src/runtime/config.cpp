// The public calls, and the rules that concern more than one field. What one field accepts is in config_fields.cpp's
// table.
#include "runtime/config.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "runtime/config_fields.hpp"
#include "runtime/config_text.hpp"
#include "runtime/cuda_backend.hpp"

namespace asterias {
namespace {

using config::Complaints;
using config::Json;

void throw_if_any(Complaints complaints) {
  if (!complaints.empty()) throw ConfigError(std::move(complaints));
}

[[noreturn]] void throw_unreadable(const std::string& path) {
  throw ConfigError("cannot read " + path + ": " + std::strerror(errno));
}

std::string read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw_unreadable(path);
  std::string text;
  char block[4096];
  while (const std::size_t num_read = std::fread(block, 1, sizeof block, file.get())) text.append(block, num_read);
  if (std::ferror(file.get())) throw_unreadable(path);
  return text;
}

// Reads `text` on top of the defaults. A tree with a repeated key is read too, so that all complaints come at once.
EngineConfig read_text(std::string_view text, Complaints& complaints) {
  EngineConfig read;
  const Json tree = config::parse_text(text, complaints);
  const bool is_json = complaints.empty() || !tree.is_null();
  if (is_json) config::read_tree(tree, read, complaints);
  return read;
}

// Reads the right-hand side of an override: JSON where it is JSON, else a string as it stands. What opens like a JSON
// string, list or object must be one: a missing bracket should not become part of a name.
Json read_override_value(const std::string& key, std::string_view text) {
  Complaints complaints;
  Json value = config::parse_text(text, complaints);
  if (complaints.empty()) return value;
  const bool opens_like_json = !text.empty() && std::string_view("{[\"").find(text.front()) != std::string_view::npos;
  if (!opens_like_json) return std::string(text);
  for (auto& complaint : complaints) complaint.insert(0, key + ": ");
  throw ConfigError(std::move(complaints));
}

// Wraps `value` so that it stands where the dotted `key` says.
Json nest(std::string_view key, Json value) {
  for (;;) {
    const auto dot = key.rfind('.');
    const std::string name(key.substr(dot == key.npos ? 0 : dot + 1));
    value = Json::object({{name, std::move(value)}});
    if (dot == key.npos) return value;
    key = key.substr(0, dot);
  }
}

// Fields may be set by hand, so their values are checked as if they had just been read.
void check_each_field(const EngineConfig& config, Complaints& complaints) {
  EngineConfig scratch;
  config::read_tree(config::write_tree(config), scratch, complaints);
}

// torch, asked for the same bits each time, multiplies no matrices with another one.
void check_cublas_workspace(Complaints& complaints) {
  const char* const set = std::getenv("CUBLAS_WORKSPACE_CONFIG");
  if (!set || set == std::string_view(":4096:8") || set == std::string_view(":16:8")) return;
  complaints.push_back(
      "deterministic: on a card cuBLAS computes the same bits each time only with CUBLAS_WORKSPACE_CONFIG=:4096:8 or "
      ":16:8, and the environment says \"" +
      std::string(set) + "\"; unset it (:4096:8 is then taken), or set deterministic to false");
}

void check_device(const EngineConfig& config, Complaints& complaints) {
  const TierConfig& gpu = config.tiers.gpu;
  const std::string device = config.resolved_device();
  if (device.starts_with("cuda")) {
    if (config.deterministic) check_cublas_workspace(complaints);
    if (gpu.link.h2d_bytes_per_second != 0 || gpu.link.d2h_bytes_per_second != 0)
      complaints.push_back("tiers.gpu.link: a card's link is as fast as it is, and device is \"" + device +
                           "\"; remove it, or use device \"simulated\"");
    if (config.debug.audit)
      complaints.push_back("debug.audit: compares bytes that the CPU can read, and device is \"" + device +
                           "\"; remove it, or use device \"cpu\" or \"simulated\"");
  } else if (device == "simulated") {
    if (!gpu.limit.is_set())
      complaints.push_back("tiers.gpu.limit: missing; device \"simulated\" needs it as the accelerator's capacity");
    if (gpu.limit.share)
      complaints.push_back(
          "tiers.gpu.limit: a share, but device \"simulated\" has no memory to take a share of; give bytes");
  } else {
    const std::string remedy =
        " works only with an accelerator or device \"simulated\", and device is \"" + device + "\"";
    if (gpu.limit.is_set()) complaints.push_back("tiers.gpu.limit:" + remedy + "; remove it or change the device");
    if (config.tiers.cpu.pinned_limit.is_set())
      complaints.push_back("tiers.cpu.pinned_limit:" + remedy + "; remove it or change the device");
    if (gpu.link.h2d_bytes_per_second != 0 || gpu.link.d2h_bytes_per_second != 0)
      complaints.push_back("tiers.gpu.link:" + remedy + "; remove it or change the device");
  }
}

void check_debug(const EngineConfig& config, Complaints& complaints) {
  if (config.debug.one_piece && config.device != "simulated")
    complaints.push_back("debug.one_piece: works only with device \"simulated\", and device is \"" + config.device +
                         "\"; remove it or change the device");
}

void check_tiers(const EngineConfig& config, Complaints& complaints) {
  const TiersConfig& tiers = config.tiers;
  for (const auto& [key, limit] : {std::pair{"tiers.gpu.limit", tiers.gpu.limit},
                                   {"tiers.cpu.limit", tiers.cpu.limit},
                                   {"tiers.cpu.pinned_limit", tiers.cpu.pinned_limit},
                                   {"tiers.nvme.limit", tiers.nvme.limit}})
    if (limit.bytes && limit.share)
      complaints.push_back(std::string(key) + ": both bytes and a share are set; keep one");
  if (config.tiers.nvme.limit.is_set() && config.tiers.nvme.paths.empty())
    complaints.push_back("tiers.nvme.path: missing; tiers.nvme.limit is set, so name the folder of the swap files");
}

void check_placement(const EngineConfig& config, Complaints& complaints) {
  const bool has_tier_below = config.resolved_device() != "cpu" || !config.tiers.nvme.paths.empty();
  if (config.placement.activations == ActivationPlacement::kOffload && !has_tier_below)
    complaints.emplace_back(
        "placement.activations: \"offload\" needs a tier below the compute tier; name a folder of swap files in "
        "tiers.nvme.path");
}

// Complains of hyper-parameters the optimizer's type does not have.
void check_type_has(const OptimizerParams& params, bool is_sgd, const std::string& prefix, Complaints& complaints) {
  const auto refuse = [&](bool is_set, const char* key) {
    if (is_set)
      complaints.push_back(prefix + key + ": not a parameter of " +
                           (is_sgd ? "SGD; it belongs to Adam and AdamW" : "Adam or AdamW; it belongs to SGD"));
  };
  refuse(is_sgd && params.betas.has_value(), "betas");
  refuse(is_sgd && params.eps.has_value(), "eps");
  refuse(!is_sgd && params.momentum.has_value(), "momentum");
  refuse(!is_sgd && params.dampening.has_value(), "dampening");
  refuse(!is_sgd && params.nesterov.has_value(), "nesterov");
}

// Applies torch's rule for SGD to `params`, which take what they lack from `inherited`.
void check_nesterov(const OptimizerParams& params, const OptimizerParams& inherited, const std::string& prefix,
                    Complaints& complaints) {
  const bool nesterov = params.nesterov.value_or(inherited.nesterov.value_or(false));
  const double momentum = params.momentum.value_or(inherited.momentum.value_or(0));
  const double dampening = params.dampening.value_or(inherited.dampening.value_or(0));
  if (nesterov && (momentum <= 0 || dampening != 0))
    complaints.push_back(prefix + "nesterov: needs momentum above 0 and dampening 0; found momentum " +
                         Json(momentum).dump() + " and dampening " + Json(dampening).dump());
}

// Complains of a format for state that SGD does not have; `momentum` is the largest that `params` stand for.
void check_has_state(const OptimizerParams& params, double momentum, const std::string& prefix,
                     Complaints& complaints) {
  if (momentum == 0 && params.state_dtype.value_or(StateDtype::kFp32) != StateDtype::kFp32)
    complaints.push_back(prefix + "state_dtype: SGD without momentum keeps no state; remove it or set momentum");
}

void check_optimizer(const OptimizerConfig& optimizer, Complaints& complaints) {
  const bool is_sgd = optimizer.type == OptimizerType::kSgd;
  const auto check = [&](const OptimizerParams& params, double momentum, const std::string& prefix) {
    check_type_has(params, is_sgd, prefix, complaints);
    if (!is_sgd) return;
    check_nesterov(params, optimizer.params, prefix, complaints);
    check_has_state(params, momentum, prefix, complaints);
  };
  const double common = optimizer.params.momentum.value_or(0);
  double most = common;
  for (const auto& group : optimizer.param_groups) most = std::max(most, group.params.momentum.value_or(0));
  check(optimizer.params, most, "optimizer.params.");
  for (std::size_t i = 0; i < optimizer.param_groups.size(); ++i) {
    const auto& params = optimizer.param_groups[i].params;
    check(params, params.momentum.value_or(common), "optimizer.param_groups[" + std::to_string(i) + "].");
  }
}

void check_batch_sizes(const EngineConfig& config, Complaints& complaints) {
  const std::int64_t batch = config.train_batch_size;
  const std::int64_t micro = config.train_micro_batch_size_per_gpu;
  const std::int64_t steps = config.gradient_accumulation_steps;
  if (batch <= 0) return;
  if (micro > 0 && steps > 0) {
    if (batch / micro != steps || batch % micro != 0)
      complaints.push_back("train_batch_size: " + std::to_string(batch) + " is not train_micro_batch_size_per_gpu " +
                           std::to_string(micro) + " times gradient_accumulation_steps " + std::to_string(steps));
  } else if (micro > 0 && batch % micro != 0) {
    complaints.push_back("train_batch_size: " + std::to_string(batch) +
                         " is not a multiple of train_micro_batch_size_per_gpu " + std::to_string(micro));
  } else if (steps > 0 && batch % steps != 0) {
    complaints.push_back("train_batch_size: " + std::to_string(batch) +
                         " is not a multiple of gradient_accumulation_steps " + std::to_string(steps));
  }
}

void check_loss_scale(const Fp16Config& fp16, Complaints& complaints) {
  if (!fp16.enabled || fp16.loss_scale != 0) return;
  if (const double first = std::ldexp(1.0, fp16.initial_scale_power); first < fp16.min_loss_scale)
    complaints.push_back("fp16.min_loss_scale: " + Json(fp16.min_loss_scale).dump() +
                         " is above the first loss scale, " + Json(first).dump() + " (fp16.initial_scale_power " +
                         std::to_string(fp16.initial_scale_power) + "); lower the one or raise the other");
}

void check_keep_fp32(const EngineConfig& config, Complaints& complaints) {
  if (!config.precision.keep_fp32.empty() && !config.fp16.enabled && !config.bf16.enabled)
    complaints.emplace_back(
        "precision.keep_fp32: nothing is cast that could be kept; enable fp16 or bf16, or remove it");
}

void check_precision(const EngineConfig& config, Complaints& complaints) {
  if (config.fp16.enabled && config.bf16.enabled)
    complaints.push_back("bf16.enabled: both fp16 and bf16 are enabled; keep one");
  check_loss_scale(config.fp16, complaints);
  check_keep_fp32(config, complaints);
}

void check_grad_mode(const EngineConfig& config, Complaints& complaints) {
  if (config.placement.grad_mode != GradMode::kReuse) return;
  const auto refuse = [&](const std::string& why) {
    complaints.push_back("placement.grad_mode: \"reuse\" " + why + ", or choose \"separate\"");
  };
  const std::int64_t batch = config.train_batch_size;
  const std::int64_t micro = config.train_micro_batch_size_per_gpu;
  const std::int64_t passes = batch > 0 && micro > 0 ? batch / micro : config.gradient_accumulation_steps;
  if (passes > 1)
    refuse(
        "cannot accumulate over " + std::to_string(passes) +
        " passes: the second needs the parameters whose places the first one's gradients took; take one pass per step");
  if (config.data_types.grad_accum_dtype)
    refuse("has no room for fp32 gradients in the place of 16-bit parameters; leave data_types.grad_accum_dtype null");
}

}  // namespace

EngineConfig EngineConfig::from_file(const std::string& path) {
  Complaints complaints;
  EngineConfig read = read_text(read_file(path), complaints);
  for (auto& complaint : complaints) complaint.insert(0, path + ": ");
  throw_if_any(std::move(complaints));
  return read;
}

EngineConfig EngineConfig::from_json(std::string_view text) {
  Complaints complaints;
  EngineConfig read = read_text(text, complaints);
  throw_if_any(std::move(complaints));
  return read;
}

void EngineConfig::set(std::string_view assignment) {
  const auto equals = assignment.find('=');
  if (equals == assignment.npos || equals == 0)
    throw ConfigError("want an override such as tiers.cpu.limit=8GiB, found \"" + std::string(assignment) + "\"");
  const std::string key(assignment.substr(0, equals));
  EngineConfig changed = *this;
  Complaints complaints;
  config::read_tree(nest(key, read_override_value(key, assignment.substr(equals + 1))), changed, complaints);
  throw_if_any(std::move(complaints));
  *this = std::move(changed);
}

std::string EngineConfig::resolved_device() const {
  if (device == "auto") return runtime::has_card() ? "cuda:0" : "cpu";
  return device == "cuda" ? "cuda:0" : device;
}

void EngineConfig::validate() const {
  Complaints complaints;
  check_each_field(*this, complaints);
  check_device(*this, complaints);
  check_debug(*this, complaints);
  check_tiers(*this, complaints);
  check_placement(*this, complaints);
  check_optimizer(optimizer, complaints);
  check_batch_sizes(*this, complaints);
  check_precision(*this, complaints);
  check_grad_mode(*this, complaints);
  throw_if_any(std::move(complaints));
}

std::string EngineConfig::to_json() const {
  return config::write_tree(*this).dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace asterias
