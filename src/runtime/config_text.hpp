// Turns the text of a configuration into a JSON tree, or into complaints a person can act on.
//
// Stricter than a JSON library: a key given twice in one object is a complaint, because the library would silently keep
// the last. Looser in one point: // and /* */ comments are allowed. Knows no key; config_fields.hpp does.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace asterias::config {

// Keeps keys in the order they were written, so that what is written reads like what was meant.
using Json = nlohmann::ordered_json;

using Complaints = std::vector<std::string>;

// Parses `text`. Syntax errors (with line and column, both from 1) and repeated keys are added to `complaints`;
// the tree is null after a syntax error.
Json parse_text(std::string_view text, Complaints& complaints);

}  // namespace asterias::config
