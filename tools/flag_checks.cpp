#include "tools/flag_checks.hpp"

#include <charconv>
#include <cstdlib>

#include "base/byte_size.hpp"

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

CLI::Validator number_below(double bound, const char* wants) {
  const auto check = [bound, wants](const std::string& text) -> std::string {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0' && value >= 0 && value < bound) return "";
    return "'" + text + "' is not " + wants;
  };
  return {check, "", "number"};
}

CLI::Validator byte_size() {
  const auto check = [](const std::string& text) -> std::string {
    if (parse_bytes(text).value_or(0) > 0) return "";
    return "'" + text + "' is not a size above 0; write 512MiB, 8GiB or 1.5GB";
  };
  return {check, "", "size"};
}

}  // namespace asterias::tools
