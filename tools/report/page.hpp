// The report of a run: one HTML page that needs no network, no script and no other file.
//
// Invariants
//   * The page is well-formed XML, whatever the log folder holds.
//   * A picture that lacks its data is replaced by a sentence that says so.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "tools/report/run_folder.hpp"

namespace asterias::tools::report {

std::string report_page(const RunFolder& run);

}  // namespace asterias::tools::report
