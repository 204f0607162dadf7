// The style sheet of the page: type, layout for wide and narrow screens, light and dark.
//
// Threading: pure functions.
#pragma once

#include <string>

namespace asterias::tools::report {

// CSS without '<' and '&', so that it can stand in a page that is XML.
std::string page_style();

}  // namespace asterias::tools::report
