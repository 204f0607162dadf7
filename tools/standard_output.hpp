// Standard output as this program uses it: every piece is out when the call returns, and a failure is an error.
//
// Threading: main thread only.
#pragma once

#include <string_view>

namespace asterias::tools {

// Writes `text` and flushes. Throws IoError when it cannot be written: a full drive, a reader that has gone away (once
// fail_when_the_reader_goes() was called; before, that ends the program).
void print(std::string_view text);

// Makes writing to a closed pipe an error like any other, so that a run ends in order and deletes its swap files.
void fail_when_the_reader_goes();

}  // namespace asterias::tools
