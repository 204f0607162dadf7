// What this process writes to standard error while the object lives, log lines included.
//
// Threading: one at a time.
#pragma once

#include <cstdio>
#include <string>
#include <unistd.h>

namespace asterias::tests {

class CapturedStderr {
 public:
  CapturedStderr() : file_(std::tmpfile()), saved_(dup(2)) { dup2(fileno(file_), 2); }
  CapturedStderr(const CapturedStderr&) = delete;
  CapturedStderr& operator=(const CapturedStderr&) = delete;
  ~CapturedStderr() {
    dup2(saved_, 2);
    close(saved_);
    std::fclose(file_);
  }

  std::string text() const {
    std::string all(static_cast<std::size_t>(lseek(fileno(file_), 0, SEEK_END)), '\0');
    const auto read = pread(fileno(file_), all.data(), all.size(), 0);
    all.resize(read < 0 ? 0 : static_cast<std::size_t>(read));
    return all;
  }

 private:
  std::FILE* file_;
  int saved_;
};

// Counts the times `what` stands in `text`.
inline int count_of(const std::string& text, const std::string& what) {
  int count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++count;
  return count;
}

}  // namespace asterias::tests
