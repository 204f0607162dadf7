// The configuration keys this build knows, for pages and tests about them.
//
// Not for reading a configuration (config.hpp). Comes from the very table that reads (config_fields.cpp), so it cannot
// go stale.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <vector>

namespace asterias::config {

// One row of docs/config.md.
struct KnownKey {
  std::string key;           // "tiers.cpu.limit"; keys of a parameter group are "optimizer.param_groups[].lr"
  std::string wants;         // type, unit and range in words, as complaints say them
  std::string default_json;  // as it would be written; "required" where there is none
};

// Lists every key in the order to_json writes them.
std::vector<KnownKey> known_keys();

}  // namespace asterias::config
