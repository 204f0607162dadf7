// What a flag's value may be. CLI11's own messages name C++ types; these say what to write.
//
// Threading: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

namespace asterias::tools {

// Whole numbers from `least` to `most`.
CLI::Validator whole_number(std::int64_t least, std::int64_t most = INT64_MAX);

// Finite numbers from 0 on.
CLI::Validator number_at_least_0();

// Numbers from 0 to below `bound`; `wants` says what that is: "a probability from 0 to below 1".
CLI::Validator number_below(double bound, const char* wants);

// Budgets: sizes above 0 (512MiB, 8GiB, 1.5GB) and shares (0.8, 80%), as the configuration's keys take them.
CLI::Validator byte_limit();

}  // namespace asterias::tools
