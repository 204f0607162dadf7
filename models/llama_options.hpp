// The sizes of a Llama (llama.hpp), without torch.
//
// Threading: a plain value.
#pragma once

#include <cstdint>

namespace asterias::models {

struct LlamaOptions {
  std::int64_t vocabulary = 256;
  std::int64_t layers = 4;
  std::int64_t hidden = 128;  // a multiple of heads; each head's width is even
  std::int64_t heads = 4;     // a multiple of kv_heads
  std::int64_t kv_heads = 4;  // each serves as many neighbouring heads as the others
  std::int64_t intermediate = 512;
  double rope_theta = 10000;
  double norm_epsilon = 1e-5;

  bool operator==(const LlamaOptions&) const = default;

  // Returns the published intermediate width of a `hidden`: two thirds of 4 * hidden, up to a multiple of 256 (Touvron
  // et al. 2023, section 2.2, and their code).
  static constexpr std::int64_t usual_intermediate(std::int64_t hidden) { return (8 * hidden / 3 + 255) / 256 * 256; }

  // Counts the parameters: the head is a matrix of its own, and nothing has a bias.
  std::int64_t num_parameters() const {
    const std::int64_t head_width = hidden / heads;
    const std::int64_t attention = hidden * (heads + 2 * kv_heads) * head_width + hidden * hidden;
    const std::int64_t block = attention + 3 * hidden * intermediate + 2 * hidden;
    return 2 * vocabulary * hidden + layers * block + hidden;
  }
};

}  // namespace asterias::models
