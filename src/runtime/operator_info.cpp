#include "runtime/operator_info.hpp"

#include <functional>
#include <unordered_map>
#include <unordered_set>

#include <ATen/core/function_schema.h>

namespace asterias::runtime {
namespace {

using ArgumentList = std::vector<std::size_t>;

// Operators of libtorch 2.11 that write arguments their schema calls read-only. Found by comparing all inputs before
// and after every operator of the test suite (debug.audit); the cudnn, miopen and gather_stats rows by reading the
// schemas.
const std::unordered_map<std::string, ArgumentList>& undeclared_writes() {
  static const std::unordered_map<std::string, ArgumentList> kTable = {
      {"aten::native_batch_norm", {3, 4}},
      {"aten::cudnn_batch_norm", {3, 4}},
      {"aten::miopen_batch_norm", {3, 4}},
      {"aten::batch_norm_update_stats", {1, 2}},
      {"aten::batch_norm_gather_stats", {3, 4}},
      {"aten::batch_norm_gather_stats_with_counts", {3, 4}},
      {"aten::mkldnn_rnn_layer_backward", {22}},  // the workspace
      {"aten::_copy_from", {1}},
      {"aten::_copy_from_and_resize", {1}},
  };
  return kTable;
}

// In-place by name, but they change sizes and strides only.
const std::unordered_set<std::string>& metadata_operators() {
  static const std::unordered_set<std::string> kTable = {
      "aten::detach_",    "aten::t_",          "aten::transpose_", "aten::squeeze_",
      "aten::unsqueeze_", "aten::as_strided_", "aten::swapaxes_",  "aten::swapdims_",
  };
  return kTable;
}

OnTables on_tables(const std::string& name) {
  if (name == "aten::embedding") return OnTables::kLookUp;
  if (name == "aten::embedding_dense_backward") return OnTables::kGradient;
  if (name == "aten::copy_") return OnTables::kCopy;
  return name == "aten::add" || name == "aten::add_" ? OnTables::kSum : OnTables::kNone;
}

bool holds_tensors(const c10::Argument& argument) { return argument.type()->str().find("Tensor") != std::string::npos; }

bool is_known_namespace(const std::string& name) {
  for (const char* prefix : {"aten::", "prim::", "prims::", "mkldnn::", "quantized::", "_quantized::", "onednn::"})
    if (name.rfind(prefix, 0) == 0) return true;
  return false;
}

Use use_of(const c10::Argument& argument, const std::string& name) {
  if (!holds_tensors(argument)) return Use::kNone;
  if (!is_known_namespace(name)) return Use::kWrite;
  if (!argument.alias_info()) return Use::kRead;
  if (argument.alias_info()->isWrite()) return metadata_operators().contains(name) ? Use::kView : Use::kWrite;
  return Use::kView;
}

// A few operators have parts and a device's own kernel as well (silu_backward, mish_backward; on a card
// _fused_rms_norm): the kernel runs.
bool runs_as_parts(const c10::OperatorHandle& op) {
  return op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) &&
         !op.hasKernelForDispatchKey(c10::DispatchKey::CPU) && !op.hasKernelForDispatchKey(c10::DispatchKey::CUDA);
}

OperatorInfo read_schema(const c10::OperatorHandle& op) {
  const auto& schema = op.schema();
  OperatorInfo info{};
  info.name = schema.name();
  info.label = schema.name().c_str();  // lives as long as the dispatcher
  info.hash = std::hash<std::string>{}(info.name + "." + schema.overload_name());
  // The foreach operators' slow path on the CPU calls the single-tensor ones.
  info.is_transparent = runs_as_parts(op) || info.name.rfind("aten::_foreach_", 0) == 0;
  info.on_tables = on_tables(info.name);
  for (const auto& argument : schema.arguments()) info.uses.push_back(use_of(argument, info.name));
  if (const auto found = undeclared_writes().find(info.name); found != undeclared_writes().end())
    for (const std::size_t argument : found->second)
      if (argument < info.uses.size()) info.uses[argument] = Use::kWrite;
  for (const Use use : info.uses) info.touches_tensors |= use == Use::kRead || use == Use::kWrite;
  return info;
}

}  // namespace

const OperatorInfo& operator_info(const c10::OperatorHandle& op) {
  static thread_local std::unordered_map<c10::OperatorHandle, OperatorInfo> table;
  const auto known = table.find(op);
  return known != table.end() ? known->second : table.emplace(op, read_schema(op)).first->second;
}

}  // namespace asterias::runtime
