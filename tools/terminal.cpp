#include "tools/terminal.hpp"

#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace asterias::tools {
namespace {

constexpr char kEscape = '\x1b';

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The first of these that is set decides (locale(7)).
bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const auto value = environment(name);
    if (value.empty()) continue;
    for (const char* set : {"UTF-8", "utf-8", "UTF8", "utf8"})
      if (value.find(set) != value.npos) return true;
    return false;
  }
  return false;
}

// Returns the length of the escape sequence (ESC [ ... letter) or of the code point that `text` begins with.
std::size_t piece_length(std::string_view text) {
  std::size_t length = 1;
  if (text[0] == kEscape) {
    while (length < text.size() && (text[length] < '@' || text[length] > '~' || text[length] == '[')) ++length;
    return length < text.size() ? length + 1 : length;
  }
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) ++length;
  return length;
}

}  // namespace

Terminal look_at_standard_output() {
  Terminal terminal;
  const auto kind = environment("TERM");
  terminal.is_terminal = ::isatty(STDOUT_FILENO) == 1 && kind != "dumb";
  if (!terminal.is_terminal) return terminal;
  terminal.has_colour = environment("NO_COLOR").empty();
  terminal.has_unicode = locale_is_utf8();
  terminal.columns = terminal_columns(80);
  return terminal;
}

int terminal_columns(int otherwise) {
  struct winsize size {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

std::string cut_to_columns(std::string_view text, int columns) {
  std::string cut;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = piece_length(text.substr(at));
    if (text[at] == kEscape || columns-- > 0) cut += text.substr(at, length);
    at += length;
  }
  return cut;
}

int columns_of(std::string_view text) {
  int columns = 0;
  for (std::size_t at = 0; at < text.size(); at += piece_length(text.substr(at))) columns += text[at] != kEscape;
  return columns;
}

}  // namespace asterias::tools
