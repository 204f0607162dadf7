#include "base/byte_size.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace asterias {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t bytes;
};

constexpr std::uint64_t kTiB = 1024 * kGiB;

// Lower case: sizes are read without regard to case, since "8gb" in a shell is a wish, not a mistake.
constexpr std::array<Unit, 14> kReadUnits{{{"", 1},
                                           {"b", 1},
                                           {"k", kKiB},
                                           {"kib", kKiB},
                                           {"kb", 1000},
                                           {"m", kMiB},
                                           {"mib", kMiB},
                                           {"mb", 1000'000},
                                           {"g", kGiB},
                                           {"gib", kGiB},
                                           {"gb", 1000'000'000},
                                           {"t", kTiB},
                                           {"tib", kTiB},
                                           {"tb", 1000'000'000'000}}};

constexpr std::array<Unit, 5> kWrittenUnits{{{"TiB", kTiB}, {"GiB", kGiB}, {"MiB", kMiB}, {"KiB", kKiB}, {"B", 1}}};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

std::optional<std::uint64_t> unit_bytes(std::string_view name) {
  const std::string wanted = lower_case(name);
  for (const Unit& unit : kReadUnits)
    if (unit.name == wanted) return unit.bytes;
  return std::nullopt;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Takes ".ddd" off the front of `text`. Empty when there is a point without a digit after it.
std::optional<double> take_fraction(std::string_view& text) {
  if (text.empty() || text.front() != '.') return 0.0;
  if (text.size() < 2 || !is_digit(text[1])) return std::nullopt;
  double fraction = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), fraction, std::chars_format::fixed).ptr;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return fraction;
}

// The whole part is multiplied in integers, so "16777216 TiB" and the like stay exact; a double holds the rest of one
// unit exactly enough.
std::optional<std::uint64_t> scaled(std::uint64_t whole, double fraction, std::uint64_t unit) {
  if (unit == 1 && fraction != 0) return std::nullopt;
  const auto rest = static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(unit)));
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(whole, unit, &bytes) || __builtin_add_overflow(bytes, rest, &bytes)) return std::nullopt;
  return bytes;
}

std::string trimmed_decimals(std::uint64_t hundredths) {
  std::string text = std::to_string(hundredths / 100);
  const auto rest = hundredths % 100;
  if (rest == 0) return text;
  text += '.';
  text += static_cast<char>('0' + rest / 10);
  if (rest % 10 != 0) text += static_cast<char>('0' + rest % 10);
  return text;
}

std::string two_decimals(std::uint64_t bytes, std::uint64_t unit) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.2f", static_cast<double>(bytes) / static_cast<double>(unit));
  return text.data();
}

std::string with_unit(std::string number, const Unit& unit) { return std::move(number) + ' ' + std::string(unit.name); }

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  text = trimmed(text);
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  std::uint64_t whole = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (problem != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  const auto fraction = take_fraction(text);
  if (!fraction) return std::nullopt;
  const auto unit = unit_bytes(trimmed(text));
  if (!unit) return std::nullopt;
  return scaled(whole, *fraction, *unit);
}

std::string format_bytes(std::uint64_t bytes) {
  std::size_t index = 0;
  while (index + 1 < kWrittenUnits.size() && bytes < kWrittenUnits[index].bytes) ++index;
  const Unit& unit = kWrittenUnits[index];
  const std::uint64_t whole = bytes / unit.bytes, rest = bytes % unit.bytes;
  if (rest * 100 % unit.bytes == 0) return with_unit(trimmed_decimals(whole * 100 + rest * 100 / unit.bytes), unit);
  // "1.37 GiB" for 1403 MiB would be less than was meant, and people copy these numbers into budgets.
  const Unit& smaller = kWrittenUnits[index + 1];
  if (rest % smaller.bytes == 0) return with_unit(std::to_string(bytes / smaller.bytes), smaller);
  return with_unit(two_decimals(bytes, unit.bytes), unit);
}

}  // namespace asterias
