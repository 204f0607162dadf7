// Patterns of parameter names, as param groups and precision.keep_fp32 write them.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <vector>

namespace asterias::runtime {

// True when one of `patterns` matches the whole `name`: '*' stands for any run of characters, '?' for one.
bool matches_any(const std::vector<std::string>& patterns, const std::string& name);

}  // namespace asterias::runtime
