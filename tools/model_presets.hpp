// The model sizes that have a name: GPT-3's table (Brown et al. 2020, table 2.1), with GPT-2's vocabulary.
//
// A preset is the shape of the model alone. Sequences, batches and the rate stay the user's: they depend on the
// machine.
//
// Threading: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "models/gpt_options.hpp"

namespace asterias::tools {

// Returns vocabulary, layers, hidden and heads of "125m", ..., "13b"; the rest is GptOptions' default. Empty for other
// names.
std::optional<models::GptOptions> find_preset(std::string_view name);

// "125m, 350m, ..., 13b"
std::string preset_names();

}  // namespace asterias::tools
