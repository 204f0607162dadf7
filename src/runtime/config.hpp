// Everything a user may choose, with its default; read from JSON, set by hand, or overridden by "a.b=c".
//
// DeepSpeed's and PatrickStar's names are used where the meaning is the same. Reading is strict: an unknown key (the
// nearest known one is named), a wrong type or an impossible value is a complaint, and all complaints come in one
// ConfigError. Knows nothing of torch. docs/config.md lists every field; a test compares that page with this reader.
//
// Threading: a plain value. Units: in the names; sizes in bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/io_engine.hpp"
#include "evict/activation_placement.hpp"

namespace asterias {

using evict::ActivationPlacement;

// A budget as written: absolute bytes, or a share of what the machine has (DRAM for cpu, free space for nvme).
struct ByteLimit {
  std::optional<std::uint64_t> bytes;
  std::optional<double> share;  // in (0, 1]
  bool is_set() const { return bytes.has_value() || share.has_value(); }
};

struct LinkConfig {
  std::uint64_t h2d_bytes_per_second = 0;  // 0: as fast as memcpy
  std::uint64_t d2h_bytes_per_second = 0;
};

struct TierConfig {
  ByteLimit limit;                 // unset: no limit (nvme: tier absent unless a path is given)
  ByteLimit pinned_limit;          // cpu only, and with an accelerator
  std::vector<std::string> paths;  // nvme only: folders for swap files ("path": one string or a list)
  LinkConfig link;                 // gpu only, device "simulated" only
};

struct TiersConfig {
  TierConfig gpu;
  TierConfig cpu;
  TierConfig nvme;
};

enum class OptimizerType : std::uint8_t { kAdam, kAdamW, kSgd };

// How an optimizer's moments are stored (hybrid_adam/number_arrays.hpp).
enum class StateDtype : std::uint8_t { kFp32, kBf16, k8Bit };

// Hyper-parameters as torch names them. Unset ones take torch's default for the type (Adam lr 1e-3, AdamW weight_decay
// 1e-2, ...); in a param group, unset ones are inherited from optimizer.params.
struct OptimizerParams {
  std::optional<double> lr;
  std::optional<std::vector<double>> betas;  // exactly two
  std::optional<double> eps;
  std::optional<double> weight_decay;
  std::optional<double> momentum;         // SGD
  std::optional<double> dampening;        // SGD
  std::optional<bool> nesterov;           // SGD
  std::optional<StateDtype> state_dtype;  // unset: fp32. Chosen when the engine is made
};

// Parameters whose names match one of `match` (glob: '*' any run, '?' one character) get these. The first group that
// matches wins.
struct ParamGroupConfig {
  std::vector<std::string> match;
  OptimizerParams params;
};

struct OptimizerConfig {
  OptimizerType type = OptimizerType::kAdamW;
  OptimizerParams params;
  bool use_hybrid_adam = true;  // the plan decides which chunks are updated on the accelerator; false: none
  std::vector<ParamGroupConfig> param_groups;
};

// fp16 parameters with fp32 masters, and gradients of a scaled loss. DeepSpeed's keys, defaults and meaning
// (loss_scaler.hpp has the rules).
struct Fp16Config {
  bool enabled = false;
  double loss_scale = 0;  // fixed; 0: dynamic, as the other keys say
  int initial_scale_power = 16;
  int loss_scale_window = 1000;
  int hysteresis = 2;
  bool consecutive_hysteresis = false;
  double min_loss_scale = 1;
};

// bf16 parameters with fp32 masters.
struct Bf16Config {
  bool enabled = false;
};

struct PrecisionConfig {
  std::vector<std::string> keep_fp32;  // name patterns of parameters that fp16 and bf16 leave as they are
};

enum class GradAccumDtype : std::uint8_t { kFp32 };

struct DataTypesConfig {
  std::optional<GradAccumDtype> grad_accum_dtype;  // unset: the parameter's own
};

enum class Eviction : std::uint8_t { kNextUse, kLru, kFifo, kStatic };

// Where gradients lie: in chunks of their own, or in their parameters' places.
enum class GradMode : std::uint8_t { kSeparate, kReuse };

struct PlacementConfig {
  Eviction eviction = Eviction::kNextUse;
  ActivationPlacement activations = ActivationPlacement::kAuto;
  GradMode grad_mode = GradMode::kSeparate;
  bool early_update = true;  // updates are computed while backward runs, where that hides moves
  bool late_update = true;   // likewise while the next forward runs
};

struct IoConfig {
  IoEngine engine = IoEngine::kAuto;
  std::uint64_t block_bytes = 4 * 1024 * 1024;  // key "block_size"
  int queue_depth = 8;
  bool direct = true;

  bool operator==(const IoConfig&) const = default;
};

struct CpuConfig {
  int threads = 0;  // of the optimizer update; 0: cores in the affinity mask divided by local ranks
};

// Which chunks are updated on the accelerator, where optimizer.use_hybrid_adam allows any.
enum class UpdateOnGpu : std::uint8_t { kPlanned, kAll, kEverySecond };

// Slow checks for finding wrong code, never needed for right results.
struct DebugConfig {
  bool poison = false;        // fills freed and evicted memory with NaNs
  bool evict_always = false;  // evicts everything unpinned after every operator
  bool audit =
      false;  // compares every read-only input before and after each operator; StateError names the one that changed
  bool one_piece = false;  // the simulated device's memory is one piece, as a card's is
  UpdateOnGpu update_on_gpu = UpdateOnGpu::kPlanned;
};

struct EngineConfig {
  std::string device = "auto";  // auto, cpu, simulated, cuda:N
  bool deterministic = true;    // on a card; false gives up equal bits for faster kernels
  bool allow_tf32 = false;      // on a card: fp32 products and convolutions with 10 bits of mantissa
  TiersConfig tiers;
  OptimizerConfig optimizer;
  std::optional<double> gradient_clipping;  // global L2 norm; unset or 0: off
  std::int64_t train_batch_size = 0;        // 0: unset. If all three are set: batch = micro * accumulation (one rank)
  std::int64_t train_micro_batch_size_per_gpu = 0;
  std::int64_t gradient_accumulation_steps = 0;
  Fp16Config fp16;
  Bf16Config bf16;
  PrecisionConfig precision;
  DataTypesConfig data_types;
  std::uint64_t default_chunk_elements =
      64 * 1024 * 1024;            // key "default_chunk_size": elements, or bytes with a suffix (divided by 4)
  bool release_after_init = true;  // PatrickStar's keys; docs/config.md says why they have nothing to decide
  bool use_cpu_embedding = false;
  PlacementConfig placement;
  int prefetch = 2;  // moments whose fetches may be on their way ahead of use; 0: on demand
  IoConfig io;
  CpuConfig cpu;
  DebugConfig debug;

  // Reads a JSON file or text. Throws ConfigError with every complaint; the file's absence is one.
  static EngineConfig from_file(const std::string& path);
  static EngineConfig from_json(std::string_view text);

  // Applies one override "a.b.c=value"; the value is JSON, or a bare string. Same strictness.
  void set(std::string_view assignment);

  // Names what `device` stands for on this machine: "cpu", "simulated" or "cuda:N". auto is the first card, else the
  // CPU.
  std::string resolved_device() const;

  // Checks what cannot be checked field by field (device against tiers, batch sizes). Called by initialize_engine.
  void validate() const;

  // Writes every field with its resolved value as JSON that from_json reads back to an equal configuration.
  std::string to_json() const;
};

}  // namespace asterias
