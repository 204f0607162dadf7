// The colours of the report: one per kind of content, phase, edge and tier, the same in every picture.
//
// Chosen so that any two of one legend stay apart for readers who see no red, no green or no blue (simulated after
// Machado, Oliveira and Fernandes 2009: CIE76 distance 12 or more), in light and in dark.
//
// Invariants
//   * Classes "fill-<name>" and "line-<name>" exist for every name that colour_names() lists. Beside them there is only
//     "fill-stall", a hatch, which the page defines once.
//
// Threading: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace asterias::tools::report {

std::vector<std::string_view> colour_names();

// Turns a name from a file into one that has a colour: itself, or "other".
std::string_view known_colour(std::string_view name);

// Writes the variables of both themes and the classes that use them, as CSS.
std::string palette_css();

}  // namespace asterias::tools::report
