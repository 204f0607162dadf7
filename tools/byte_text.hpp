// A file as training data: every byte is a token, every batch is random windows of it.
//
// Holds no data: each window is read from the file, so a text of any size costs the budget nothing. Windows are drawn
// by a generator of its own, so that neither the model's dropout nor the budget changes which bytes a step sees.
//
// Invariants
//   * Same file, sequence and seed => same batches in the same order, on every machine.
//   * Targets are the inputs one byte further on.
//
// Threading: thread-compatible. Units: bytes, which are tokens.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace asterias::tools {

class ByteText {
 public:
  // Opens `path` for windows of `sequence` (> 0) tokens. Throws ConfigError when it cannot be opened, is not a file, is
  // empty or is shorter than sequence + 1 bytes.
  ByteText(const std::string& path, std::int64_t sequence, std::uint64_t seed);
  ByteText(const ByteText&) = delete;
  ByteText& operator=(const ByteText&) = delete;
  ~ByteText();

  std::uint64_t num_bytes() const { return num_bytes_; }

  // Fills [batch, sequence] token ids in [0, 256), row by row, and the tokens that follow them. Both spans have the
  // same size, a multiple of `sequence`. Throws IoError when the file cannot be read any more, or has become shorter.
  void next_batch(std::span<std::int64_t> inputs, std::span<std::int64_t> targets);

 private:
  void read_window(std::uint64_t offset);

  std::string path_;
  int descriptor_;
  std::uint64_t num_bytes_ = 0;
  std::size_t sequence_;
  std::mt19937_64 generator_;
  std::vector<unsigned char> window_;  // sequence + 1 bytes
};

}  // namespace asterias::tools
