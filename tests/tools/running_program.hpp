// The program `asterias` while it runs: what it has printed so far, and signals to it. No sleeps: waits are for output.
//
// started_program.hpp is for runs that nobody talks to.
#pragma once

#include <csignal>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <pty.h>

namespace asterias::tests {

class RunningProgram {
 public:
  using Environment = std::map<std::string, std::string>;  // what differs from ours

  // Starts it on a pseudo-terminal of so many columns, with all three standard streams there.
  RunningProgram(const std::vector<std::string>& arguments, unsigned short columns, const Environment& environment) {
    const std::string program = std::string(std::getenv("ASTERIAS_BIN_DIR")) + "/asterias";
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    struct winsize size {};
    size.ws_row = 40;
    size.ws_col = columns;
    child_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
    if (child_ < 0) throw std::runtime_error("no pseudo-terminal can be made");
    if (child_ == 0) {
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(terminal_);
  }

  // Reads on until `words` have been printed `times` times in all; false when the program ends before.
  bool wait_for(const std::string& words, int times = 1) {
    while (count(words) < times)
      if (!read_some()) return false;
    return true;
  }

  void send(int signal) const { ::kill(child_, signal); }

  // Reads to the end and returns the exit code; 128 + signal when a signal ended it.
  int finish() {
    while (read_some()) continue;
    int status = 0;
    ::waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // As the terminal got it: lines end in \r\n.
  const std::string& out() const { return out_; }

  int count(const std::string& words) const {
    int times = 0;
    for (std::size_t at = 0; (at = out_.find(words, at)) != out_.npos; at += words.size()) ++times;
    return times;
  }

 private:
  // A pseudo-terminal whose other end is closed reads as an error.
  bool read_some() {
    char part[4096];
    const auto size = ::read(terminal_, part, sizeof part);
    if (size <= 0) return false;
    out_.append(part, static_cast<std::size_t>(size));
    return true;
  }

  int terminal_ = -1;
  pid_t child_ = -1;
  std::string out_;
};

}  // namespace asterias::tests
