#include "base/log.hpp"

#include <cstdlib>
#include <memory>
#include <string>

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace asterias::log {
namespace {

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarning: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
    case Level::kOff: return spdlog::level::off;
  }
  return spdlog::level::warn;
}

Level level_from_environment() {
  const char* text = std::getenv("ASTERIAS_LOG");
  const std::string name = text == nullptr ? "" : text;
  if (name == "debug") return Level::kDebug;
  if (name == "info") return Level::kInfo;
  if (name == "error") return Level::kError;
  if (name == "off") return Level::kOff;
  return Level::kWarning;
}

// Never destroyed, because destructors of static objects may still log. Not registered with spdlog either: a program
// that uses spdlog for itself keeps its own default logger, levels and shutdown.
spdlog::logger& logger() {
  static spdlog::logger& the_logger = *[] {
    auto* made = new spdlog::logger("asterias", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%H:%M:%S.%e %n %l: %v");
    made->set_level(spdlog_level(level_from_environment()));
    return made;
  }();
  return the_logger;
}

// The overload for a plain string is named, or a message with braces would be taken for a format.
void write(spdlog::level::level_enum level, std::string_view message) {
  logger().log(level, spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace

void set_level(Level level) { logger().set_level(spdlog_level(level)); }

void debug(std::string_view message) { write(spdlog::level::debug, message); }
void info(std::string_view message) { write(spdlog::level::info, message); }
void warning(std::string_view message) { write(spdlog::level::warn, message); }
void error(std::string_view message) { write(spdlog::level::err, message); }

}  // namespace asterias::log
