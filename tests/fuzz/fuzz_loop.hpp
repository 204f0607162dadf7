// Feeds a reader one input after another and keeps those that take it somewhere new.
//
// The run ends the process on a crash, a sanitizer's complaint, or an input that takes more than ten seconds; whatever
// the reader throws ends the case. In each of these cases the input is left in the working directory as
// fuzz-<name>.input, and ASTERIAS_FUZZ_INPUT=<file> runs it alone.
//
// Short and the same each time by default; ASTERIAS_FUZZ_SECONDS makes it long, and other each time: scripts/fuzz.
//
// Threading: one thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace asterias::fuzz {

struct Target {
  std::string name;
  // Reads one input. It may throw ConfigError or IoError, nothing else, and must throw std::logic_error when what it
  // read breaks a promise.
  std::function<void(const std::string&)> read;
  std::vector<std::string> seeds;
  std::vector<std::string> words;
  std::size_t max_bytes = 4096;
  int num_inputs = 20000;  // when it is short
};

// Throws what the reader should not have thrown.
void run(const Target& target);

}  // namespace asterias::fuzz
