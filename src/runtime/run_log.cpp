#include "asterias/run_log.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "runtime/trace_json.hpp"

namespace asterias {
namespace {

using Json = nlohmann::ordered_json;

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

File open_file(const std::string& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode));
  if (!file) throw IoError(errno, path, 0, "opening");
  return file;
}

void write_text(std::FILE* file, const std::string& path, const std::string& text) {
  const long offset = std::ftell(file);
  if (std::fputs(text.c_str(), file) < 0 || std::fflush(file) != 0)
    throw IoError(errno, path, static_cast<std::uint64_t>(offset < 0 ? 0 : offset), "writing");
}

// Readers see the old text or the new one, never half of it.
void replace_file(const std::string& path, const std::string& text) {
  const std::string unfinished = path + ".new";
  write_text(open_file(unfinished, "we").get(), unfinished, text);
  if (std::rename(unfinished.c_str(), path.c_str()) != 0) throw IoError(errno, path, 0, "replacing");
}

std::string read_whole(const std::string& path) {
  const File file = open_file(path, "re");
  std::string text;
  char part[65536];
  for (std::size_t read; (read = std::fread(part, 1, sizeof part, file.get())) > 0;) text.append(part, read);
  if (std::ferror(file.get())) throw IoError(errno, path, text.size(), "reading");
  return text;
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string hex_text(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

Json number(double value) { return std::isfinite(value) ? Json(value) : nullptr; }

// The folder is this run's for as long as the file is open. A file system that knows no locks is taken without one.
void lock_for_this_run(std::FILE* file, const std::string& folder) {
  if (::flock(::fileno(file), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw ConfigError("another run writes its logs to " + folder + "; name another folder");
}

// steps.jsonl, which only grows, by whole lines. Holds the folder's lock.
class Lines {
 public:
  explicit Lines(const std::string& folder) : path_(folder + "/steps.jsonl"), file_(open_file(path_, "ae")) {
    lock_for_this_run(file_.get(), folder);
    // EINVAL: a device or a pipe, which has nothing to empty.
    if (::ftruncate(::fileno(file_.get()), 0) != 0 && errno != EINVAL) throw IoError(errno, path_, 0, "emptying");
  }
  void add(const std::string& line) { write_text(file_.get(), path_, line + '\n'); }

 private:
  std::string path_;
  File file_;
};

// steps.csv. Columns come as their names do; rows of before are filled up with empty cells.
class Table {
 public:
  explicit Table(std::string path) : path_(std::move(path)), file_(open_file(path_, "we")) {}

  void add(const Json& step) {
    const std::size_t num_before = columns_.size();
    std::vector<std::string> cells(num_before);
    for (const auto& [name, value] : step.items()) {
      if (value.is_object()) continue;
      const auto found = std::find(columns_.begin(), columns_.end(), name);
      const std::string cell = value.is_null() ? "" : value.dump();
      if (found != columns_.end()) {
        cells[static_cast<std::size_t>(found - columns_.begin())] = cell;
        continue;
      }
      columns_.push_back(name);
      cells.push_back(cell);
    }
    if (columns_.size() > num_before) widen(columns_.size() - num_before);
    write_text(file_.get(), path_, line_of(cells));
  }

 private:
  static std::string line_of(const std::vector<std::string>& cells) {
    std::string line;
    for (const auto& cell : cells) line += (line.empty() && &cell == &cells.front() ? "" : ",") + cell;
    return line + '\n';
  }

  void widen(std::size_t more) {
    std::string text = line_of(columns_);
    const std::string old = read_whole(path_);
    for (std::size_t at = old.find('\n'), end; at + 1 < old.size(); at = end) {  // from the line after the header
      end = old.find('\n', at + 1);
      text += old.substr(at + 1, end - at - 1) + std::string(more, ',') + '\n';
    }
    replace_file(path_, text);
    file_ = open_file(path_, "ae");
  }

  std::string path_;
  File file_;
  std::vector<std::string> columns_;
};

std::string make_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw ConfigError("the log folder " + folder + " cannot be made: " + error.message());
  return folder;
}

}  // namespace

struct RunLog::Files {
  explicit Files(const std::string& where) : folder(make_folder(where)), steps(folder), table(folder + "/steps.csv") {
    std::error_code ignored;
    std::filesystem::remove(folder + "/trace.json", ignored);
  }

  void write_run() const { replace_file(folder + "/run.json", run.dump(2) + "\n"); }

  std::string folder;
  Lines steps;
  Table table;
  Json run;
  std::vector<StepTrace> traces;
};

RunLog::RunLog(const std::string& folder, const EngineConfig& config) {
  if (folder.empty()) return;
  files_ = std::make_unique<Files>(folder);
  replace_file(folder + "/config.resolved.json", config.to_json() + "\n");
  files_->run = {{"version", ASTERIAS_VERSION},
                 {"build", ASTERIAS_BUILD},
                 {"libtorch", ASTERIAS_TORCH_VERSION},
                 {"simd", update_simd_target()},
                 {"started", now_text()},
                 {"notes", Json::object()},
                 {"plan", nullptr},
                 {"end", nullptr}};
  files_->write_run();
}

RunLog::RunLog(RunLog&&) noexcept = default;
RunLog& RunLog::operator=(RunLog&&) noexcept = default;
RunLog::~RunLog() = default;

void RunLog::note(const std::string& key, const std::string& value) {
  if (!files_) return;
  files_->run["notes"][key] = value;
  files_->write_run();
}

void RunLog::note(const std::string& key, std::int64_t value) {
  if (!files_) return;
  files_->run["notes"][key] = value;
  files_->write_run();
}

void RunLog::note(const std::string& key, double value) {
  if (!files_) return;
  files_->run["notes"][key] = number(value);
  files_->write_run();
}

void RunLog::plan(const Plan& plan) {
  if (!files_) return;
  files_->run["plan"] = Json::parse(plan.to_json());
  files_->write_run();
}

void RunLog::add(const StepStats& stats, const std::vector<Extra>& more) {
  if (!files_) return;
  Json step = Json::parse(stats.to_json());
  for (const auto& [name, value] : more) step[name] = number(value);
  files_->steps.add(step.dump());
  files_->table.add(step);
}

void RunLog::add(const StepTrace& trace) {
  if (!files_) return;
  files_->traces.push_back(trace);
  replace_file(files_->folder + "/trace.json", runtime::trace_json(files_->traces));
}

void RunLog::finish(const std::string& how, std::optional<std::uint64_t> fingerprint) {
  if (!files_) return;
  files_->run["end"] = {{"how", how}, {"fingerprint", fingerprint ? Json(hex_text(*fingerprint)) : Json(nullptr)}};
  files_->write_run();
}

}  // namespace asterias
