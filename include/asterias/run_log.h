// The log folder of a run: what it was asked, what was planned, what each step did, and what was traced.
//
//   asterias::RunLog log("logs", config);
//   log.plan(engine.plan());
//   log.add(engine.stats());                    // after each step
//   log.finish("done", engine.fingerprint());
//
// docs/logs.md describes every file and field. Files of an earlier run in the folder are replaced. Not the program's
// output (tools/), and no reader: `asterias report` has that.
//
// Invariants
//   * Whatever happens to the process, every file is readable: what add() or plan() has returned from is there.
//   * A folder is one log's at a time; the end of the process, however it comes, frees it.
//
// Threading: thread-compatible. Units: in the names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/config.hpp"
#include "runtime/telemetry.hpp"

namespace asterias {

class RunLog {
 public:
  // A figure of one's own for a step: "tokens_per_second", "validation_loss".
  using Extra = std::pair<std::string, double>;

  // Makes the folder if it is missing, writes the configuration and takes the earlier run's files away. An empty
  // `folder` makes a log that does nothing. Throws ConfigError when the folder cannot be made or another log writes to
  // it, IoError when a file in it cannot be written.
  RunLog(const std::string& folder, const EngineConfig& config);
  RunLog(RunLog&&) noexcept;
  RunLog& operator=(RunLog&&) noexcept;
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  ~RunLog();

  // Keeps a fact of the run ("model", "tokens_per_step"). A later one of the same key replaces it. Throws IoError.
  void note(const std::string& key, const std::string& value);
  void note(const std::string& key, const char* value) { note(key, std::string(value)); }
  void note(const std::string& key, std::int64_t value);
  void note(const std::string& key, double value);
  // Keeps the plan; a later one replaces it. Throws IoError.
  void plan(const Plan& plan);
  // Appends a step. Any names may come in `more` at any step. Throws IoError.
  void add(const StepStats& stats, const std::vector<Extra>& more = {});
  // Adds recorded steps to the trace. Throws IoError.
  void add(const StepTrace& trace);
  // Says how the run ended: "done", "interrupted", "failed: ...". Throws IoError.
  void finish(const std::string& how, std::optional<std::uint64_t> fingerprint = std::nullopt);

 private:
  struct Files;
  std::unique_ptr<Files> files_;  // null: does nothing
};

}  // namespace asterias
