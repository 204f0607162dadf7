#include "tools/text_sampler.hpp"

#include <array>
#include <cmath>
#include <cstdio>

namespace asterias::tools {
namespace {

constexpr std::size_t kNumBytes = 256;

std::size_t likeliest(std::span<const float> logits) {
  std::size_t best = 0;
  for (std::size_t byte = 1; byte < kNumBytes; ++byte)
    if (logits[byte] > logits[best] || std::isnan(logits[best])) best = byte;
  return best;
}

}  // namespace

unsigned char TextSampler::pick(std::span<const float> logits) {
  const std::size_t best = likeliest(logits);
  if (temperature_ <= 0 || std::isnan(logits[best])) return static_cast<unsigned char>(best);
  std::array<double, kNumBytes> weights;
  double sum = 0;
  for (std::size_t byte = 0; byte < kNumBytes; ++byte) {
    const double weight = std::exp((static_cast<double>(logits[byte]) - logits[best]) / temperature_);
    sum += weights[byte] = std::isnan(weight) ? 0 : weight;
  }
  double left = static_cast<double>(generator_() >> 11) * 0x1p-53 * sum;  // uniform in [0, sum)
  for (std::size_t byte = 0; byte < kNumBytes; ++byte)
    if ((left -= weights[byte]) < 0) return static_cast<unsigned char>(byte);
  return static_cast<unsigned char>(best);  // rounding
}

std::string escaped_text(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    char hex[8];
    if (byte == '\n') {
      text += "\\n";
    } else if (byte == '\t') {
      text += "\\t";
    } else if (byte == '\\') {
      text += "\\\\";
    } else if (byte >= ' ' && byte <= '~') {
      text += byte;
    } else {
      std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(byte));
      text += hex;
    }
  }
  return text;
}

}  // namespace asterias::tools
