// What `asterias --version` says: program, build, libtorch, SIMD target, devices.
//
// Threading: thread-safe.
#pragma once

#include <string>

namespace asterias::tools {

// The program's version alone: "0.1.0".
std::string program_version();

// Several lines without the last line's end.
std::string version_text();

}  // namespace asterias::tools
