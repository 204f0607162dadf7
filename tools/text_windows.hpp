// Which windows of a text make the batches: random ones to learn from, and the same even ones at each validation.
//
// A window is a sequence and the token after it: the targets are the inputs one byte further on.
//
// Invariants
//   * No byte of the text's validation part is in any training window, and none of the training part in a validation
//     window.
//   * Same file, split, sequence and seed => same training batches in the same order, on every machine. The generator
//   is
//     their own: neither dropout nor the budget nor a validation in between changes which bytes a step sees.
//
// Threading: thread-compatible. Units: bytes, which are tokens.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "tools/byte_text.hpp"

namespace asterias::tools {

// Bytes [begin, end) of a text.
struct TextPart {
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t size() const { return end - begin; }
};

struct TextSplit {
  TextPart training;
  TextPart validation;  // the last `share` of the text; empty when that is 0
};

// Splits by position. Throws ConfigError when a part that is wanted is shorter than one window.
TextSplit split_text(const ByteText& text, double validation_share, std::int64_t sequence);

// Token ids in [0, 256), [batch, sequence] row by row, and the tokens that follow them: spans of the same size, a
// multiple of the sequence's length.
struct BatchSpans {
  std::span<std::int64_t> inputs;
  std::span<std::int64_t> targets;
};

class RandomWindows {
 public:
  // REQUIRES: `part` holds at least one window.
  RandomWindows(const ByteText& text, TextPart part, std::int64_t sequence, std::uint64_t seed);

  // Throws IoError when the file cannot be read any more.
  void next_batch(BatchSpans batch);

 private:
  const ByteText& text_;
  TextPart part_;
  std::mt19937_64 generator_;
  std::vector<unsigned char> window_;  // sequence + 1 bytes
};

class EvenWindows {
 public:
  // `num_windows` (> 0) of them from the beginning of `part` to its end; they overlap where it is short. REQUIRES:
  // `part` holds at least one.
  EvenWindows(const ByteText& text, TextPart part, std::int64_t sequence, std::int64_t num_windows);

  // Fills a batch with windows `first`, first + 1, ... Throws IoError when the file cannot be read any more.
  void batch_at(std::int64_t first, BatchSpans batch);

 private:
  const ByteText& text_;
  TextPart part_;
  std::uint64_t num_windows_;
  std::vector<unsigned char> window_;
};

}  // namespace asterias::tools
