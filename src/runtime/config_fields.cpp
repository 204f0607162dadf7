// Keys are kept as full paths in one flat table; the nesting of the JSON is found from the dots, so a section exists
// exactly where a field in it does.
#include "runtime/config_fields.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/nearest_word.hpp"
#include "runtime/config_keys.hpp"
#include "runtime/config_values.hpp"

namespace asterias::config {
namespace {

constexpr std::int64_t kMaxBatch = 1'000'000'000;  // two of these multiply without overflow
constexpr int kMaxThreads = 4096;
constexpr std::string_view kGroupPrefix = "optimizer.param_groups";

// One key of `Owner`: where it is, what it takes, how it gets in and out.
template <class Owner>
struct Field {
  std::string path;
  std::string wants;
  std::string default_json;
  std::function<void(const Json&, const std::string& shown_path, Owner&, Complaints&)> read;
  std::function<Json(const Owner&)> write;
};

template <class Owner>
using Fields = std::vector<Field<Owner>>;

std::string found_want(const std::string& path, const Json& value, const std::string& wants) {
  return path + ": found " + describe(value) + ", want " + wants;
}

// Makes the field that `get(owner)` refers to.
template <class Owner, class T, class Get>
Field<Owner> field(std::string path, Kind<T> kind, Get get) {
  const auto write = [kind, get](const Owner& owner) { return kind.write(get(owner)); };
  const auto read = [kind, get](const Json& value, const std::string& shown_path, Owner& owner,
                                Complaints& complaints) {
    if (!kind.read(value, get(owner))) complaints.push_back(found_want(shown_path, value, kind.wants));
  };
  return {std::move(path), kind.wants, write(Owner{}).dump(), read, write};
}

// Makes a field without which its object makes no sense.
template <class Owner, class T, class Get>
Field<Owner> required_field(std::string path, Kind<T> kind, Get get) {
  auto made = field<Owner>(std::move(path), std::move(kind), get);
  made.default_json = "required";
  return made;
}

// The walk: any Owner, any table.

std::string join(const std::string& prefix, const std::string& key) {
  return prefix.empty() ? key : prefix + "." + key;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

// Lists the keys that may stand in the section `section` ("" is the root), in order, each once.
template <class Owner>
std::vector<std::string> keys_in(const Fields<Owner>& fields, const std::string& section) {
  std::vector<std::string> keys;
  const std::string prefix = section.empty() ? "" : section + ".";
  for (const auto& field : fields) {
    if (!field.path.starts_with(prefix)) continue;
    const std::string key = field.path.substr(prefix.size(), field.path.find('.', prefix.size()) - prefix.size());
    if (keys.empty() || keys.back() != key) keys.push_back(key);
  }
  return keys;
}

// Says which key the user may have meant: the only one of that very name elsewhere, else the most alike in the same
// section, else any of that section.
template <class Owner>
std::string known_keys(const Fields<Owner>& fields, const std::string& shown, const std::string& section,
                       const std::string& key) {
  const std::string one = "the nearest known one is ";
  const auto has_that_name = [&](const auto& field) { return last_part(field.path) == key; };
  if (std::count_if(fields.begin(), fields.end(), has_that_name) == 1)
    return one + join(shown, std::find_if(fields.begin(), fields.end(), has_that_name)->path);
  const auto keys = keys_in(fields, section);
  if (const auto nearest = nearest_word(key, keys)) return one + join(shown, join(section, *nearest));
  std::string all = "known here: ";
  for (const auto& known : keys) all += (&known == &keys.front() ? "" : ", ") + known;
  return all;
}

// Reads the object at `section` of the table into `owner`; `shown` is where the table's root stands in the whole.
template <class Owner>
void read_section(const Fields<Owner>& fields, const Json& object, const std::string& section, const std::string& shown,
                  Owner& owner, Complaints& complaints) {
  for (const auto& [key, value] : object.items()) {
    const std::string path = join(section, key);
    const std::string shown_path = join(shown, join(section, key.empty() ? "\"\"" : key));
    const auto same_path = [&](const auto& field) { return field.path == path; };
    const auto field = std::find_if(fields.begin(), fields.end(), same_path);
    // "tiers.cpu" as one key names nothing, though its path reads like the section's.
    const bool may_be_known = !key.empty() && key.find('.') == key.npos;
    const bool is_section = may_be_known && !keys_in(fields, path).empty();
    if (may_be_known && field != fields.end()) {
      field->read(value, shown_path, owner, complaints);
    } else if (is_section && value.is_object()) {
      read_section(fields, value, path, shown, owner, complaints);
    } else if (is_section) {
      complaints.push_back(
          found_want(shown_path, value, "an object, as in {\"" + keys_in(fields, path).front() + "\": ...}"));
    } else {
      complaints.push_back(shown_path + ": unknown key; " + known_keys(fields, shown, section, key));
    }
  }
}

// Writes `owner` as nested objects; `with_nulls` keeps the keys that are unset.
template <class Owner>
Json write_fields(const Fields<Owner>& fields, const Owner& owner, bool with_nulls) {
  Json tree = Json::object();
  for (const auto& field : fields) {
    Json value = field.write(owner);
    if (value.is_null() && !with_nulls) continue;
    std::string pointer = "/" + field.path;
    std::replace(pointer.begin(), pointer.end(), '.', '/');
    tree[Json::json_pointer(pointer)] = std::move(value);
  }
  return tree;
}

// The tables.

// Adds torch's hyper-parameters under `prefix`, for all parameters or for one group.
template <class Owner, class Get>
void add_hyper_parameters(Fields<Owner>& fields, const std::string& prefix, Get params) {
  const auto add = [&](const char* key, auto kind, auto member) {
    fields.push_back(field<Owner>(
        prefix + key, or_null(std::move(kind)),
        [ params, member ](auto& owner) -> auto& { return params(owner).*member; }));
  };
  add("lr", number_at_least_0(), &OptimizerParams::lr);
  add("betas", two_decay_rates(), &OptimizerParams::betas);
  add("eps", number_at_least_0(), &OptimizerParams::eps);
  add("weight_decay", number_at_least_0(), &OptimizerParams::weight_decay);
  add("momentum", number_at_least_0(), &OptimizerParams::momentum);
  add("dampening", number("a number", [](double) { return true; }), &OptimizerParams::dampening);
  add("nesterov", boolean(), &OptimizerParams::nesterov);
  add("state_dtype",
      choice<StateDtype>({{"fp32", StateDtype::kFp32}, {"bf16", StateDtype::kBf16}, {"8bit", StateDtype::k8Bit}}),
      &OptimizerParams::state_dtype);
}

Fields<ParamGroupConfig> make_group_fields() {
  Fields<ParamGroupConfig> fields;
  fields.push_back(required_field<ParamGroupConfig>(
      "match", strings("a name pattern or a list of them", /*may_be_empty=*/false),
      [](auto& group) -> auto& { return group.match; }));
  add_hyper_parameters(
      fields, "", [](auto& group) -> auto& { return group.params; });
  return fields;
}

const Fields<ParamGroupConfig>& group_fields() {
  static const Fields<ParamGroupConfig> fields = make_group_fields();
  return fields;
}

ParamGroupConfig read_group(const Json& value, const std::string& shown_path, Complaints& complaints) {
  ParamGroupConfig group;
  if (!value.is_object()) {
    complaints.push_back(
        found_want(shown_path, value, "an object, as in {\"match\": \"*.bias\", \"weight_decay\": 0}"));
    return group;
  }
  if (!value.contains("match")) complaints.push_back(shown_path + ".match: missing; it names the group's parameters");
  read_section(group_fields(), value, "", shown_path, group, complaints);
  return group;
}

Field<EngineConfig> param_groups_field() {
  const std::string wants = "a list of objects with the keys below";
  const auto read = [wants](const Json& value, const std::string& shown_path, EngineConfig& config,
                            Complaints& complaints) {
    if (!value.is_array()) return complaints.push_back(found_want(shown_path, value, wants));
    config.optimizer.param_groups.clear();
    for (std::size_t i = 0; i < value.size(); ++i)
      config.optimizer.param_groups.push_back(
          read_group(value[i], shown_path + "[" + std::to_string(i) + "]", complaints));
  };
  const auto write = [](const EngineConfig& config) {
    Json groups = Json::array();
    for (const auto& group : config.optimizer.param_groups)
      groups.push_back(write_fields(group_fields(), group, /*with_nulls=*/false));
    return groups;
  };
  return {std::string(kGroupPrefix), wants, "[]", read, write};
}

void add_tiers(Fields<EngineConfig>& fields) {
  const auto add = [&](const char* path, auto kind, auto get) {
    fields.push_back(field<EngineConfig>(path, std::move(kind), get));
  };
  add(
      "tiers.gpu.limit", byte_limit(), [](auto& c) -> auto& { return c.tiers.gpu.limit; });
  add(
      "tiers.gpu.link.h2d", link_speed(), [](auto& c) -> auto& { return c.tiers.gpu.link.h2d_bytes_per_second; });
  add(
      "tiers.gpu.link.d2h", link_speed(), [](auto& c) -> auto& { return c.tiers.gpu.link.d2h_bytes_per_second; });
  add(
      "tiers.cpu.limit", byte_limit(), [](auto& c) -> auto& { return c.tiers.cpu.limit; });
  add(
      "tiers.cpu.pinned_limit", byte_limit(), [](auto& c) -> auto& { return c.tiers.cpu.pinned_limit; });
  add(
      "tiers.nvme.limit", byte_limit(), [](auto& c) -> auto& { return c.tiers.nvme.limit; });
  add(
      "tiers.nvme.path", strings("a folder or a list of folders", /*may_be_empty=*/true),
      [](auto& c) -> auto& { return c.tiers.nvme.paths; });
}

void add_optimizer(Fields<EngineConfig>& fields) {
  fields.push_back(field<EngineConfig>(
      "optimizer.type",
      choice<OptimizerType>(
          {{"Adam", OptimizerType::kAdam}, {"AdamW", OptimizerType::kAdamW}, {"SGD", OptimizerType::kSgd}}),
      [](auto& c) -> auto& { return c.optimizer.type; }));
  add_hyper_parameters(
      fields, "optimizer.params.", [](auto& c) -> auto& { return c.optimizer.params; });
  fields.push_back(field<EngineConfig>(
      "optimizer.params.use_hybrid_adam", boolean(), [](auto& c) -> auto& { return c.optimizer.use_hybrid_adam; }));
  fields.push_back(param_groups_field());
}

void add_batch(Fields<EngineConfig>& fields) {
  const auto add = [&](const char* path, auto kind, auto get) {
    fields.push_back(field<EngineConfig>(path, std::move(kind), get));
  };
  const auto count = whole<std::int64_t>(0, kMaxBatch);
  add(
      "gradient_clipping", or_null(number_at_least_0()), [](auto& c) -> auto& { return c.gradient_clipping; });
  add(
      "train_batch_size", count, [](auto& c) -> auto& { return c.train_batch_size; });
  add(
      "train_micro_batch_size_per_gpu", count, [](auto& c) -> auto& { return c.train_micro_batch_size_per_gpu; });
  add(
      "gradient_accumulation_steps", count, [](auto& c) -> auto& { return c.gradient_accumulation_steps; });
}

// DeepSpeed's sections and its defaults.
void add_mixed_precision(Fields<EngineConfig>& fields) {
  const auto add = [&](const char* path, auto kind, auto get) {
    fields.push_back(field<EngineConfig>(path, std::move(kind), get));
  };
  const auto positive = whole(1, std::numeric_limits<int>::max());
  add(
      "fp16.enabled", boolean(), [](auto& c) -> auto& { return c.fp16.enabled; });
  add(
      "fp16.loss_scale", number_at_least_0(), [](auto& c) -> auto& { return c.fp16.loss_scale; });
  add(
      "fp16.initial_scale_power", whole(0, 127), [](auto& c) -> auto& { return c.fp16.initial_scale_power; });
  add(
      "fp16.loss_scale_window", positive, [](auto& c) -> auto& { return c.fp16.loss_scale_window; });
  add(
      "fp16.hysteresis", positive, [](auto& c) -> auto& { return c.fp16.hysteresis; });
  add(
      "fp16.consecutive_hysteresis", boolean(), [](auto& c) -> auto& { return c.fp16.consecutive_hysteresis; });
  add(
      "fp16.min_loss_scale", number("a number above 0", [](double value) { return value > 0; }),
      [](auto& c) -> auto& { return c.fp16.min_loss_scale; });
  add(
      "bf16.enabled", boolean(), [](auto& c) -> auto& { return c.bf16.enabled; });
  add(
      "precision.keep_fp32", strings("a name pattern or a list of them", /*may_be_empty=*/true),
      [](auto& c) -> auto& { return c.precision.keep_fp32; });
  add(
      "data_types.grad_accum_dtype", or_null(choice<GradAccumDtype>({{"fp32", GradAccumDtype::kFp32}})),
      [](auto& c) -> auto& { return c.data_types.grad_accum_dtype; });
}

void add_placement(Fields<EngineConfig>& fields) {
  const auto add = [&](const char* path, auto kind, auto get) {
    fields.push_back(field<EngineConfig>(path, std::move(kind), get));
  };
  add(
      "default_chunk_size", chunk_elements(), [](auto& c) -> auto& { return c.default_chunk_elements; });
  add(
      "release_after_init", boolean(), [](auto& c) -> auto& { return c.release_after_init; });
  add(
      "use_cpu_embedding", boolean(), [](auto& c) -> auto& { return c.use_cpu_embedding; });
  add(
      "placement.eviction",
      choice<Eviction>({{"next_use", Eviction::kNextUse},
                        {"lru", Eviction::kLru},
                        {"fifo", Eviction::kFifo},
                        {"static", Eviction::kStatic}}),
      [](auto& c) -> auto& { return c.placement.eviction; });
  add(
      "placement.activations",
      choice<ActivationPlacement>({{"auto", ActivationPlacement::kAuto},
                                   {"keep", ActivationPlacement::kKeep},
                                   {"offload", ActivationPlacement::kOffload}}),
      [](auto& c) -> auto& { return c.placement.activations; });
  add(
      "placement.grad_mode", choice<GradMode>({{"separate", GradMode::kSeparate}, {"reuse", GradMode::kReuse}}),
      [](auto& c) -> auto& { return c.placement.grad_mode; });
  add(
      "placement.early_update", boolean(), [](auto& c) -> auto& { return c.placement.early_update; });
  add(
      "placement.late_update", boolean(), [](auto& c) -> auto& { return c.placement.late_update; });
  add(
      "prefetch", whole(0, 1024), [](auto& c) -> auto& { return c.prefetch; });
}

void add_machine(Fields<EngineConfig>& fields) {
  const auto add = [&](const char* path, auto kind, auto get) {
    fields.push_back(field<EngineConfig>(path, std::move(kind), get));
  };
  add(
      "io.engine",
      choice<IoEngine>({{"auto", IoEngine::kAuto}, {"io_uring", IoEngine::kIoUring}, {"threads", IoEngine::kThreads}}),
      [](auto& c) -> auto& { return c.io.engine; });
  add(
      "io.block_size", size_in_multiples_of(4096), [](auto& c) -> auto& { return c.io.block_bytes; });
  add(
      "io.queue_depth", whole(1, 1024), [](auto& c) -> auto& { return c.io.queue_depth; });
  add(
      "io.direct", boolean(), [](auto& c) -> auto& { return c.io.direct; });
  add(
      "cpu.threads", whole(0, kMaxThreads), [](auto& c) -> auto& { return c.cpu.threads; });
  add(
      "debug.poison", boolean(), [](auto& c) -> auto& { return c.debug.poison; });
  add(
      "debug.evict_always", boolean(), [](auto& c) -> auto& { return c.debug.evict_always; });
  add(
      "debug.audit", boolean(), [](auto& c) -> auto& { return c.debug.audit; });
  add(
      "debug.one_piece", boolean(), [](auto& c) -> auto& { return c.debug.one_piece; });
  add(
      "debug.update_on_gpu",
      choice<UpdateOnGpu>(
          {{"auto", UpdateOnGpu::kPlanned}, {"all", UpdateOnGpu::kAll}, {"every_second", UpdateOnGpu::kEverySecond}}),
      [](auto& c) -> auto& { return c.debug.update_on_gpu; });
}

Fields<EngineConfig> make_engine_fields() {
  Fields<EngineConfig> fields;
  fields.push_back(field<EngineConfig>(
      "device", device_name(), [](auto& c) -> auto& { return c.device; }));
  fields.push_back(field<EngineConfig>(
      "deterministic", boolean(), [](auto& c) -> auto& { return c.deterministic; }));
  fields.push_back(field<EngineConfig>(
      "allow_tf32", boolean(), [](auto& c) -> auto& { return c.allow_tf32; }));
  add_tiers(fields);
  add_optimizer(fields);
  add_batch(fields);
  add_mixed_precision(fields);
  add_placement(fields);
  add_machine(fields);
  return fields;
}

const Fields<EngineConfig>& engine_fields() {
  static const Fields<EngineConfig> fields = make_engine_fields();
  return fields;
}

}  // namespace

std::vector<KnownKey> known_keys() {
  std::vector<KnownKey> keys;
  for (const auto& field : engine_fields()) {
    keys.push_back({field.path, field.wants, field.default_json});
    if (field.path != kGroupPrefix) continue;
    for (const auto& inner : group_fields())
      keys.push_back({field.path + "[]." + inner.path, inner.wants, inner.default_json});
  }
  return keys;
}

void read_tree(const Json& tree, EngineConfig& config, Complaints& complaints) {
  if (!tree.is_object()) return complaints.push_back("found " + describe(tree) + " at the top, want an object");
  read_section(engine_fields(), tree, "", "", config, complaints);
}

Json write_tree(const EngineConfig& config) { return write_fields(engine_fields(), config, /*with_nulls=*/true); }

}  // namespace asterias::config
