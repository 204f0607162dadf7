// The one list of configuration keys, and the walks over it: read a tree, write a tree (and config_keys.hpp: list the
// keys).
//
// Reading, EngineConfig::set, to_json, validate's re-check of fields set by hand, and the test of docs/config.md all
// walk this list; a key added to it is known everywhere. Checks one field at a time: what concerns several is
// EngineConfig::validate's.
//
// Threading: pure functions.
#pragma once

#include "runtime/config.hpp"
#include "runtime/config_text.hpp"

namespace asterias::config {

// Sets in `config` what `tree` gives and leaves the rest. Every unknown key, wrong type and impossible value is added
// to `complaints`; `config` is then partly changed and should be dropped.
void read_tree(const Json& tree, EngineConfig& config, Complaints& complaints);

// Writes every field, null where unset.
Json write_tree(const EngineConfig& config);

}  // namespace asterias::config
