// What standard output is, and what it can show.
//
// Threading: main thread only. Units: columns, one per code point.
#pragma once

#include <string>
#include <string_view>

namespace asterias::tools {

struct Terminal {
  bool is_terminal = false;  // a line can be redrawn in place
  bool has_colour = false;
  bool has_unicode = false;
  int columns = 100;  // how wide text should be: the terminal's width, or what reads well in a file
};

// Looks at standard output and the environment: TERM (a dumb terminal is none), NO_COLOR, the locale's character set.
Terminal look_at_standard_output();

// The terminal's width now: it may have been resized since. `otherwise` when it is unknown.
int terminal_columns(int otherwise);

// Cuts UTF-8 text to `columns`; escape sequences count nothing and are kept, so that colours end where they should.
std::string cut_to_columns(std::string_view text, int columns);

// How many columns UTF-8 text takes; escape sequences take none.
int columns_of(std::string_view text);

}  // namespace asterias::tools
