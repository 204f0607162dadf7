// The models that have a name: GPT-3's table (Brown et al. 2020, table 2.1), with GPT-2's vocabulary, and Llamas
// (Touvron et al. 2023, table 2; Llama 3: Grattafiori et al. 2024, table 3).
//
// A preset is the shape of the model alone. Sequences, batches and the rate stay the user's: they depend on the
// machine.
//
// Threading: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tools/model_options.hpp"

namespace asterias::tools {

// Returns the shape of "125m", ..., "13b", "llama-7b", ...; sequence and dropout are ModelOptions' default. Empty for
// other names.
std::optional<ModelOptions> find_preset(std::string_view name);

// "125m, 350m, ..., llama-7b, ..."
std::string preset_names();

}  // namespace asterias::tools
