// Runs a program of this build, mostly `asterias`, as a user would, and keeps what it printed.
//
// ASTERIAS_BIN_DIR and ASTERIAS_SOURCE_DIR are set by tests/catch_main.cpp.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/base/started_process.hpp"

namespace asterias::tests {

// Names a program of this build.
inline std::string built_program(const std::string& name) {
  return std::string(std::getenv("ASTERIAS_BIN_DIR")) + "/" + name;
}
inline Run start_program(const std::string& name, const std::vector<std::string>& arguments) {
  return StartedProcess(built_program(name), arguments).wait();
}

inline std::string asterias_program() { return built_program("asterias"); }

inline Run start_asterias(const std::vector<std::string>& arguments, const Environment& more = {}) {
  return StartedProcess(asterias_program(), arguments, more).wait();
}

// The same with its standard output in `out_file`.
inline Run start_asterias(const std::vector<std::string>& arguments, const std::string& out_file) {
  return StartedProcess(asterias_program(), arguments, {}, out_file).wait();
}

// The text that ships with the project.
inline std::string shipped_text() {
  return std::string(std::getenv("ASTERIAS_SOURCE_DIR")) + "/data/genesis_to_ruth.txt";
}

// The arguments that train a tiny model on it, and `more`. The last of several equal flags counts.
inline std::vector<std::string> tiny_training(const std::vector<std::string>& more) {
  std::vector<std::string> arguments{"train", "--data", shipped_text(), "--layers", "2", "--hidden",  "64", "--heads",
                                     "2",     "--seq",  "32",           "--batch",  "2", "--threads", "1",  "--dropout",
                                     "0.1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

inline Run train_tiny(const std::vector<std::string>& more) { return start_asterias(tiny_training(more)); }

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
