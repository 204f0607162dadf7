// A file as text: every byte is a token.
//
// Holds no data: each window is read from the file, so a text of any size costs the budget nothing. Which windows make
// a batch is text_windows.hpp's business.
//
// Threading: thread-compatible. Units: bytes, which are tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace asterias::tools {

class ByteText {
 public:
  // Throws ConfigError when `path` cannot be opened, is not a file or is empty.
  explicit ByteText(const std::string& path);
  ByteText(const ByteText&) = delete;
  ByteText& operator=(const ByteText&) = delete;
  ~ByteText();

  const std::string& path() const { return path_; }
  std::uint64_t num_bytes() const { return num_bytes_; }

  // Fills `bytes` from `offset` on. Throws IoError when the file cannot be read any more, or has become shorter.
  void read(std::uint64_t offset, std::span<unsigned char> bytes) const;

 private:
  std::string path_;
  int descriptor_;
  std::uint64_t num_bytes_ = 0;
};

}  // namespace asterias::tools
