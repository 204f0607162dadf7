// What an operator does to each of its arguments: the schema's alias annotations, and the few it does not tell.
//
// Threading: thread-safe (each thread has its own table). Look-up is one hash.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/dispatch/Dispatcher.h>

namespace asterias::runtime {

enum class Use : std::uint8_t {
  kNone,  // not a tensor
  kRead,
  kWrite,  // may read, too
  kView,   // only metadata is taken or changed: no bytes are touched
};

// What an operator can do on the cpu tier for a table that stays there (runtime/host_operators.hpp).
enum class OnTables : std::uint8_t {
  kNone,
  kLookUp,    // reads rows
  kGradient,  // makes the whole table's gradient
  kCopy,      // copies whole tensors
  kSum        // adds whole tensors
};

struct OperatorInfo {
  bool is_transparent;  // only calls other operators, which are met on their own
  bool touches_tensors;
  std::uint64_t hash;  // of the name with overload
  std::string name;
  const char* label;      // the name, in storage that outlives threads
  std::vector<Use> uses;  // by argument
  OnTables on_tables;
};

// Reads the schema once per operator and thread. Operators outside torch's own namespaces count as writing every tensor
// argument: an undeclared write that is missed would be a silent wrong result; a needless one is only a copy.
const OperatorInfo& operator_info(const c10::OperatorHandle& op);

}  // namespace asterias::runtime
