#include "base/nearest_word.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace asterias {
namespace {

// Counts the insertions, deletions and replacements from one word to the other (Levenshtein).
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i - 1] != to[j - 1]);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string> nearest_word(std::string_view word, const std::vector<std::string>& known) {
  const auto nearer = [&](const auto& a, const auto& b) { return edit_distance(word, a) < edit_distance(word, b); };
  const auto nearest = std::min_element(known.begin(), known.end(), nearer);
  if (nearest == known.end()) return std::nullopt;
  const std::size_t most = 1 + std::max(word.size(), nearest->size()) / 4;
  return edit_distance(word, *nearest) <= most ? std::optional(*nearest) : std::nullopt;
}

}  // namespace asterias
