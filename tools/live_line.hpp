// One line of a terminal that is redrawn in place.
//
// Other text may be printed between clear() and the next show().
//
// Threading: main thread only.
#pragma once

#include <string_view>

namespace asterias::tools {

class LiveLine {
 public:
  LiveLine() = default;
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;
  ~LiveLine();  // ends the line, so that whatever comes next stands below it

  // Shows `line` (no line ends in it) in place of what was shown before, cut to the terminal's present width.
  void show(std::string_view line);

  // Erases it.
  void clear();

 private:
  bool is_shown_ = false;
};

}  // namespace asterias::tools
