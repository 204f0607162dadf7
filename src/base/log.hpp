// One line to the person who runs the program, through spdlog.
//
// Not telemetry (runtime/telemetry.hpp) and not errors (base/error.hpp): a log line says what the runtime chose on its
// own. spdlog stays behind this header, because its fmt and libtorch's disagree (docs/hacking.md).
//
// Threading: thread-safe. The only singleton of the project.
#pragma once

#include <string_view>

namespace asterias::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

// Shows messages of `level` and above; the start value is kWarning, or what ASTERIAS_LOG (debug, info, warning, error,
// off) names.
void set_level(Level level);

void debug(std::string_view message);
void info(std::string_view message);
void warning(std::string_view message);
void error(std::string_view message);

}  // namespace asterias::log
