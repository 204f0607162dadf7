#include "tools/flag_checks.hpp"

#include <charconv>
#include <cstdlib>
#include <limits>

#include "base/error.hpp"
#include "runtime/config.hpp"

namespace asterias::tools {

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
  const auto check = [least, most](const std::string& text) -> std::string {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size() && value >= least && value <= most) return "";
    return "'" + text + "' is not a whole number of " + std::to_string(least) +
           (most == INT64_MAX ? " or more" : " to " + std::to_string(most));
  };
  return {check, "", "whole number"};
}

CLI::Validator number_at_least_0() {
  return number_below(std::numeric_limits<double>::infinity(), "a finite number, 0 or more");
}

CLI::Validator number_below(double bound, const char* wants) {
  const auto check = [bound, wants](const std::string& text) -> std::string {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0' && value >= 0 && value < bound) return "";
    return "'" + text + "' is not " + wants;
  };
  return {check, "", "number"};
}

CLI::Validator byte_limit() {
  const auto check = [](const std::string& text) -> std::string {
    EngineConfig scratch;
    try {
      scratch.set("tiers.cpu.limit=" + text);
    } catch (const ConfigError&) {
      // it stays unset
    }
    if (scratch.tiers.cpu.limit.is_set()) return "";
    return "'" + text + "' is neither a size above 0 nor a share; write 512MiB, 8GiB, 1.5GB or 80%";
  };
  return {check, "", "size"};
}

}  // namespace asterias::tools
