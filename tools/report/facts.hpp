// What a reader wants to know first of a run: model, budgets, result, speed, and how it ended.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "tools/report/run_folder.hpp"

namespace asterias::tools::report {

// "done", "interrupted", "failed", or that no end is on record.
std::string ending(const RunFolder& run);

// Why a run failed, with its remedies; empty when it did not.
std::string failure(const RunFolder& run);

// A list of names and values, as HTML.
std::string facts_list(const RunFolder& run);

// A row per tier: budget, smallest sufficient budget, predicted and measured peak. Empty when no tier is known.
std::string tier_table(const RunFolder& run);

}  // namespace asterias::tools::report
