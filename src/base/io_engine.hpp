// Who reads and writes swap files: the configuration's io.engine.
#pragma once

#include <cstdint>
#include <string_view>

namespace asterias {

enum class IoEngine : std::uint8_t {
  kAuto,     // io_uring where the system allows it, else threads, with one log line
  kIoUring,  // nothing else will do
  kThreads,
};

// Names the engine as the configuration does.
constexpr std::string_view io_engine_name(IoEngine engine) {
  switch (engine) {
    case IoEngine::kAuto: return "auto";
    case IoEngine::kIoUring: return "io_uring";
    case IoEngine::kThreads: return "threads";
  }
  return "?";
}

}  // namespace asterias
