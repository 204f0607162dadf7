// Picks the next byte of a text from a model's logits, and writes what was picked so that any terminal can show it.
//
// Draws from a generator of its own: a run that samples now and then trains with the same bits as one that does not.
//
// Threading: thread-compatible.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>

namespace asterias::tools {

class TextSampler {
 public:
  // Temperature 0 picks the likeliest byte, 1 draws by the model's own probabilities.
  TextSampler(double temperature, std::uint64_t seed) : temperature_(temperature), generator_(seed) {}

  // Picks by the first 256 of `logits`; tokens beyond are no bytes. NaNs are never picked; the first byte is when all
  // are. REQUIRES: at least 256 logits.
  unsigned char pick(std::span<const float> logits);

 private:
  double temperature_;
  std::mt19937_64 generator_;
};

// Writes printable ASCII as it is and everything else as \n, \t, \\ or \x1b.
std::string escaped_text(std::string_view bytes);

}  // namespace asterias::tools
