#include "tools/live_line.hpp"

#include <cstdio>
#include <string>

#include "tools/standard_output.hpp"
#include "tools/terminal.hpp"

namespace asterias::tools {
namespace {

constexpr const char* kToStartAndErase = "\r\x1b[K";

}  // namespace

// Not print(): a destructor does not throw.
LiveLine::~LiveLine() {
  if (is_shown_) std::fputs("\n", stdout);
}

// The last column stays free: a character there makes some terminals go on to the next line.
void LiveLine::show(std::string_view line) {
  print(kToStartAndErase + cut_to_columns(line, terminal_columns(80) - 1));
  is_shown_ = true;
}

void LiveLine::clear() {
  if (is_shown_) print(kToStartAndErase);
  is_shown_ = false;
}

}  // namespace asterias::tools
