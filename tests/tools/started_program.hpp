// Runs the program `asterias` as a user would, and keeps what it printed.
//
// ASTERIAS_BIN_DIR and ASTERIAS_SOURCE_DIR are set by tests/catch_main.cpp.
#pragma once

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <spawn.h>

#include "tests/base/temporary_folder.hpp"

namespace asterias::tests {

struct Run {
  int exit_code;  // 128 + signal when a signal ended it
  std::string out, err;

  std::vector<std::string> lines() const {
    std::vector<std::string> all;
    std::istringstream text(out);
    for (std::string line; std::getline(text, line);) all.push_back(line);
    return all;
  }
  std::string last_line() const { return out.empty() ? "" : lines().back(); }
  bool says(const std::string& words) const { return err.find(words) != std::string::npos; }
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Runs it to its end. What it prints goes to a file that Run::out is read from, or to `out_path`.
inline Run start_asterias(const std::vector<std::string>& arguments, const std::string& out_path = "") {
  const TemporaryFolder folder;
  const std::string program = std::string(std::getenv("ASTERIAS_BIN_DIR")) + "/asterias";
  const std::string out = out_path.empty() ? folder.path() + "/out" : out_path;
  const std::string err = folder.path() + "/err";
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t child = 0;
  const int error = posix_spawn(&child, program.c_str(), &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw std::runtime_error(program + " cannot be started");
  int status = 0;
  if (::waitpid(child, &status, 0) != child) throw std::runtime_error(program + " cannot be waited for");
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), out_path.empty() ? read_file(out) : "",
          read_file(err)};
}

// The text that ships with the project.
inline std::string shipped_text() {
  return std::string(std::getenv("ASTERIAS_SOURCE_DIR")) + "/data/genesis_to_ruth.txt";
}

// The flags of a tiny model on it, and more. The last of several equal flags counts.
inline std::vector<std::string> tiny_flags(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"train", "--data", shipped_text(), "--layers", "2", "--hidden",  "64", "--heads",
                                     "2",     "--seq",  "32",           "--batch",  "2", "--threads", "1",  "--dropout",
                                     "0.1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

inline Run train_tiny(const std::vector<std::string>& more) { return start_asterias(tiny_flags(more)); }

// "fingerprint <16 hex digits>"
inline bool is_fingerprint(const std::string& line) {
  const std::string word = "fingerprint ";
  return line.size() == word.size() + 16 && line.starts_with(word) &&
         line.find_first_not_of("0123456789abcdef", word.size()) == std::string::npos;
}

// The size in "set tiers.<tier>.limit to at least <size>" of a refusal; empty when it names none.
inline std::string smallest_limit(const Run& refused, const std::string& tier) {
  const std::string words = "set tiers." + tier + ".limit to at least ";
  const auto at = refused.err.find(words);
  if (at == std::string::npos) return "";
  const auto start = at + words.size();
  return refused.err.substr(start, refused.err.find('\n', start) - start);
}

}  // namespace asterias::tests
