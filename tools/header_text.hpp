// What a run is going to be, as text.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "tools/run_view.hpp"

namespace asterias::tools {

// Data, model, training, device and budgets, a line or two each.
std::string header_text(const RunStart& start);

// "GPT 125m, 12 layers, hidden 768, ..."
std::string model_text(const TrainOptions& options);

}  // namespace asterias::tools
