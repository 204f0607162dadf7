#include "runtime/name_pattern.hpp"

#include <algorithm>

namespace asterias::runtime {
namespace {

bool matches(const char* pattern, const char* text) {
  for (; *pattern != '*'; ++pattern, ++text) {
    if (*text == '\0' || *pattern == '\0') return *text == *pattern;
    if (*pattern != '?' && *pattern != *text) return false;
  }
  for (;; ++text) {
    if (matches(pattern + 1, text)) return true;
    if (*text == '\0') return false;
  }
}

}  // namespace

bool matches_any(const std::vector<std::string>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const auto& pattern) { return matches(pattern.c_str(), name.c_str()); });
}

}  // namespace asterias::runtime
