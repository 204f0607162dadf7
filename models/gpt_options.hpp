// The sizes of a GPT (gpt.hpp), without torch.
//
// Threading: a plain value.
#pragma once

#include <cstdint>

namespace asterias::models {

struct GptOptions {
  std::int64_t vocabulary = 256;
  std::int64_t sequence = 128;  // longest input
  std::int64_t layers = 4;
  std::int64_t hidden = 128;  // a multiple of heads
  std::int64_t heads = 4;
  double dropout = 0.0;

  bool operator==(const GptOptions&) const = default;

  // Counts the parameters: the tied head is the embedding.
  std::int64_t num_parameters() const {
    const std::int64_t block = 12 * hidden * hidden + 13 * hidden;
    return (vocabulary + sequence) * hidden + layers * block + 2 * hidden;
  }
};

}  // namespace asterias::models
