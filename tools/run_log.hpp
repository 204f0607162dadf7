// The log folder of a run: steps.jsonl, one StepStats per line, and config.resolved.json.
//
// Files of an earlier run in the same folder are replaced.
//
// Threading: thread-compatible.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "runtime/config.hpp"
#include "runtime/telemetry.hpp"

namespace asterias::tools {

class RunLog {
 public:
  // Makes the folder if it is missing and writes the configuration. An empty `folder` makes a log that does nothing.
  // Throws ConfigError when the folder cannot be made, IoError when a file in it cannot be written.
  RunLog(const std::string& folder, const EngineConfig& config);

  // Appends a line; it is in the file when this returns. Throws IoError.
  void add(const StepStats& stats);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;

  static File open(const std::string& path);
  static void write_line(std::FILE* file, const std::string& path, const std::string& line);

  std::string steps_path_;
  File steps_;
};

}  // namespace asterias::tools
