#include "tools/run_log.hpp"

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/error.hpp"

namespace asterias::tools {

RunLog::RunLog(const std::string& folder, const EngineConfig& config) {
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw ConfigError("--log-dir " + folder + ": " + error.message());
  const std::string config_path = folder + "/config.resolved.json";
  write_line(open(config_path).get(), config_path, config.to_json());
  steps_path_ = folder + "/steps.jsonl";
  steps_ = open(steps_path_);
}

void RunLog::add(const StepStats& stats) {
  if (steps_) write_line(steps_.get(), steps_path_, stats.to_json());
}

RunLog::File RunLog::open(const std::string& path) {
  File file(std::fopen(path.c_str(), "we"));
  if (!file) throw IoError(errno, path, 0, "opening");
  return file;
}

void RunLog::write_line(std::FILE* file, const std::string& path, const std::string& line) {
  const long offset = std::ftell(file);
  if (std::fputs(line.c_str(), file) < 0 || std::fputc('\n', file) < 0 || std::fflush(file) != 0)
    throw IoError(errno, path, static_cast<std::uint64_t>(offset < 0 ? 0 : offset), "writing");
}

}  // namespace asterias::tools
