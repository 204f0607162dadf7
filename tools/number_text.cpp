#include "tools/number_text.hpp"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <iterator>

#include "base/byte_size.hpp"

namespace asterias::tools {

std::string printf_text(const char* format, ...) {
  std::va_list measured, written;
  va_start(measured, format);
  va_copy(written, measured);
  std::string text(static_cast<std::size_t>(std::vsnprintf(nullptr, 0, format, measured)), '\0');
  va_end(measured);
  std::vsnprintf(text.data(), text.size() + 1, format, written);
  va_end(written);
  return text;
}

std::string bytes_text(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return printf_text("%.*f %s", decimals, value, kUnits[unit]);
}

std::string limit_text(std::uint64_t bytes) {
  if (bytes == UINT64_MAX) return "no limit";
  return bytes % kMiB == 0 ? format_bytes(bytes) : bytes_text(bytes);
}

std::string count_text(std::uint64_t count) {
  const auto value = static_cast<double>(count);
  if (count < 1'000'000) return std::to_string(count);
  if (count < 1'000'000'000) return printf_text("%.1f million", value / 1e6);
  return printf_text("%.2f billion", value / 1e9);
}

std::string ms_text(double ms) { return ms < 10'000 ? printf_text("%.0f ms", ms) : printf_text("%.1f s", ms / 1e3); }

std::string loss_text(double loss) { return printf_text(loss < 1e4 ? "%.4f" : "%.4g", loss); }

std::string duration_text(double seconds) {
  const auto whole = static_cast<long long>(std::ceil(seconds));
  const long long minutes = whole / 60, hours = minutes / 60, days = hours / 24;
  if (days > 0) return printf_text("%lld d %lld h", days, hours % 24);
  if (hours > 0) return printf_text("%lld h %lld min", hours, minutes % 60);
  if (minutes > 0) return printf_text("%lld min %lld s", minutes, whole % 60);
  return printf_text("%lld s", whole);
}

}  // namespace asterias::tools
