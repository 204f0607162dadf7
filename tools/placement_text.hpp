// A plan as text: a table of the tiers, and a bar for each with what will lie there.
//
// Threading: pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/telemetry.hpp"
#include "tools/terminal.hpp"

namespace asterias::tools {

// Several lines, each ended. The bar of a limited tier is as long as its limit, so its empty part is what stays free;
// other bars are as long as what lies there. REQUIRES: plan.is_measured.
std::string placement_text(const Plan& plan, const Terminal& terminal);

// `columns` cells for `whole_bytes`, by kind in ContentKind's order, the rest empty. Each kind ends where its bytes
// added to those before it end, rounded to a cell.
std::string content_bar(const ContentBytes& bytes, std::uint64_t whole_bytes, int columns, const Terminal& terminal);

}  // namespace asterias::tools
