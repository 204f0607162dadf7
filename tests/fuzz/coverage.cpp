#include "tests/fuzz/coverage.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace asterias::fuzz {
namespace {

constexpr std::size_t kEdges = 1 << 14;

std::array<std::uint8_t, kEdges> hits;        // of the present input, up to 255
std::array<std::uint8_t, kEdges> seen_often;  // bit n: some input has taken the edge 2^n times or more, below 2^(n+1)

}  // namespace

void begin_input() { hits.fill(0); }

bool took_something_new() {
  bool is_new = false;
  for (std::size_t edge = 0; edge < kEdges; ++edge) {
    if (hits[edge] == 0) continue;
    const auto often = std::bit_floor(hits[edge]);
    is_new |= (seen_often[edge] & often) == 0;
    seen_often[edge] |= often;
  }
  return is_new;
}

std::size_t num_edges() {
  return static_cast<std::size_t>(std::count_if(seen_often.begin(), seen_often.end(), [](auto n) { return n != 0; }));
}

}  // namespace asterias::fuzz

// NOLINTNEXTLINE(bugprone-reserved-identifier): the compiler's name for it
extern "C" void __sanitizer_cov_trace_pc() {
  const auto place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  auto& count = asterias::fuzz::hits[(place ^ (place >> 16)) % asterias::fuzz::kEdges];
  if (count < 255) ++count;
}
