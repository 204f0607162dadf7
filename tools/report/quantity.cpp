#include "tools/report/quantity.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <span>

namespace asterias::tools::report {
namespace {

struct Scaled {
  double divisor;
  const char* name;
};

// From small to large; the first serves everything below the second.
constexpr Scaled kBytes[] = {{1, " B"},
                             {1024., " KiB"},
                             {1024. * 1024, " MiB"},
                             {1024. * 1024 * 1024, " GiB"},
                             {1024. * 1024 * 1024 * 1024, " TiB"},
                             {1024. * 1024 * 1024 * 1024 * 1024, " PiB"}};
constexpr Scaled kMilliseconds[] = {{1e-3, " µs"}, {1, " ms"}, {1e3, " s"}};
constexpr Scaled kPlain[] = {{1, ""}, {1e3, " k"}, {1e6, " M"}, {1e9, " G"}};
constexpr Scaled kCount[] = {{1, ""}};

std::span<const Scaled> scales(Unit unit) {
  switch (unit) {
    case Unit::kBytes: return kBytes;
    case Unit::kMilliseconds: return kMilliseconds;
    case Unit::kCount: return kCount;
    case Unit::kPlain: break;
  }
  return kPlain;
}

// The unit in which `value` has one to four digits before the point.
Scaled scale_for(double value, Unit unit) {
  const auto all = scales(unit);
  if (value == 0 && unit == Unit::kMilliseconds) return kMilliseconds[1];
  // Losses above 1000 and rates stay as they are up to four digits.
  const double reach = unit == Unit::kPlain ? 9.9995 : 0.9995;
  std::size_t chosen = 0;
  while (chosen + 1 < all.size() && std::abs(value) >= all[chosen + 1].divisor * reach) ++chosen;
  return all[chosen];
}

std::string printed(double value, int decimals) {
  char text[64];
  if (std::abs(value) >= 1e9)
    std::snprintf(text, sizeof text, "%.3g", value);
  else
    std::snprintf(text, sizeof text, "%.*f", std::clamp(decimals, 0, 9), value);
  return text;
}

// "1234567" to "1,234,567".
std::string grouped(std::string digits) {
  if (digits.find_first_not_of("-0123456789") != std::string::npos) return digits;
  const std::size_t start = digits.starts_with('-') ? 1 : 0;
  for (std::size_t at = digits.size(); at > start + 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

int digits_after_point(double value, bool exact) {
  const double size = std::abs(value);
  if (exact && value == std::floor(value)) return 0;
  return size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.01 || size == 0 ? 2 : 4;
}

double nice_step(double span, int about, Unit unit) {
  const double rough = span / std::max(about, 1);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double lead = rough / power;
  const double step = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
  return unit == Unit::kCount ? std::max(step, 1.) : step;
}

}  // namespace

std::string quantity_text(double value, Unit unit) {
  if (!std::isfinite(value)) return "unknown";
  const Scaled scale = scale_for(value, unit);
  const double scaled = value / scale.divisor;
  if (unit == Unit::kCount) return grouped(printed(scaled, 0));
  const bool exact = unit == Unit::kBytes;
  const int decimals = unit == Unit::kPlain && std::abs(scaled) < 10 ? 4 : digits_after_point(scaled, exact);
  return printed(scaled, decimals) + scale.name;
}

std::vector<Tick> nice_ticks(double from, double to, Unit unit, int about) {
  const double span = to - from;
  const double ulp = std::max(std::abs(from), std::abs(to)) * 1e-9;
  if (!std::isfinite(span) || span <= ulp) return nice_ticks(0, 1, unit, about);
  const Scaled scale = scale_for(std::max(std::abs(from), std::abs(to)), unit);
  const double step = nice_step(span / scale.divisor, about, unit);
  const int decimals = static_cast<int>(std::max(0., -std::floor(std::log10(step) + 1e-9)));
  const double first = std::floor(from / scale.divisor / step + 1e-9);
  const double last = std::max(std::ceil(to / scale.divisor / step - 1e-9), first + 1);
  std::vector<Tick> ticks;
  for (double at = first; at <= last && ticks.size() <= 2 * static_cast<std::size_t>(std::max(about, 1)) + 2; ++at) {
    const double value = at * step;
    const std::string digits = printed(value, decimals);
    const std::string label = unit == Unit::kCount ? grouped(digits) : digits + scale.name;
    ticks.push_back({value * scale.divisor, value == 0 ? "0" : label});
  }
  return ticks;
}

}  // namespace asterias::tools::report
