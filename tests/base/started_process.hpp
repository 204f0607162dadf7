// A program that a test starts, may signal, waits for, and whose output it keeps.
//
// Threading: one owner; several may run at once, also started by several threads.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
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

using Environment = std::vector<std::pair<std::string, std::string>>;

class StartedProcess {
 public:
  // Starts `program` with this process's environment and `more` in place of variables of the same names. What it prints
  // is kept, or goes to `out_file`.
  StartedProcess(const std::string& program, const std::vector<std::string>& arguments, const Environment& more = {},
                 const std::string& out_file = "")
      : keeps_out_(out_file.empty()) {
    const std::string out_target = keeps_out_ ? out_path() : out_file;
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<std::string> variables = environment_with(more);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out_target.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err_path().c_str(), O_WRONLY | O_CREAT, 0600);
    const int error =
        posix_spawn(&child_, program.c_str(), &files, nullptr, pointers(words).data(), pointers(variables).data());
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) throw std::runtime_error(program + " cannot be started");
    handle_ = static_cast<int>(syscall(SYS_pidfd_open, child_, 0));
  }
  StartedProcess(const StartedProcess&) = delete;
  StartedProcess& operator=(const StartedProcess&) = delete;
  ~StartedProcess() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    if (handle_ >= 0) close(handle_);
  }

  void signal(int number) const { ::kill(child_, number); }
  pid_t id() const { return child_; }
  std::string out() const { return keeps_out_ ? read_file(out_path()) : ""; }  // so far

  // False when it still runs after `patience`.
  bool ends_within(std::chrono::milliseconds patience) const {
    if (handle_ < 0) throw std::runtime_error("pidfd_open is refused here (Linux 5.3 has it)");
    pollfd ended{handle_, POLLIN, 0};
    int changed = 0;
    do changed = ::poll(&ended, 1, static_cast<int>(patience.count()));
    while (changed < 0 && errno == EINTR);
    return changed != 0;
  }

  // Waits for its end.
  Run wait() {
    int status = 0;
    if (::waitpid(std::exchange(child_, 0), &status, 0) <= 0) throw std::runtime_error("a child cannot be waited for");
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), out(), read_file(err_path())};
  }

 private:
  static std::vector<std::string> environment_with(const Environment& more) {
    std::vector<std::string> variables;
    for (const auto& [name, value] : more) variables.push_back(name + "=" + value);
    for (char** at = environ; *at != nullptr; ++at) {
      const std::string variable = *at;
      const bool replaced = std::any_of(more.begin(), more.end(),
                                        [&](const auto& item) { return variable.starts_with(item.first + "="); });
      if (!replaced) variables.push_back(variable);
    }
    return variables;
  }

  static std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> all;
    for (auto& word : words) all.push_back(word.data());
    all.push_back(nullptr);
    return all;
  }

  std::string out_path() const { return folder_.path() + "/out"; }
  std::string err_path() const { return folder_.path() + "/err"; }

  const TemporaryFolder folder_;
  const bool keeps_out_;
  pid_t child_ = 0;
  int handle_ = -1;
};

}  // namespace asterias::tests
