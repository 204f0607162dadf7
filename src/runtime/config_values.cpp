#include "runtime/config_values.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/byte_size.hpp"

namespace asterias::config {
namespace {

constexpr std::uint64_t kMinChunkElements = 128;
constexpr std::uint64_t kMaxChunkElements = std::uint64_t{1}
                                            << 40;  // 4 TiB of fp32: far from overflow when summed over lists
constexpr std::uint64_t kBytesPerElement = 4;

bool is_finite_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

// Reads a string that holds nothing but a number as that number, so that quotes around one change nothing.
Json unquoted(const Json& value) {
  if (!value.is_string()) return value;
  const Json inner = Json::parse(value.get<std::string>(), nullptr, /*allow_exceptions=*/false);
  return inner.is_number() ? inner : value;
}

std::optional<std::uint64_t> as_bytes(const Json& quoted_value) {
  const Json value = unquoted(quoted_value);
  return value.is_string() ? parse_bytes(value.get<std::string>()) : as_whole(value);
}

// Reads "80%" and fractions; a whole number above 1 is no share however it is written.
std::optional<double> as_share(const Json& quoted_value) {
  const Json value = unquoted(quoted_value);
  double share = 0;
  if (value.is_number_float()) {
    share = value.get<double>();
  } else if (value.is_string() && value.get<std::string>().ends_with('%')) {
    std::string percent = value.get<std::string>();
    percent.pop_back();
    const Json parsed = Json::parse(percent, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_number()) share = parsed.get<double>() / 100;
  }
  return share > 0 && share <= 1 ? std::optional(share) : std::nullopt;
}

bool read_limit(const Json& value, ByteLimit& out) {
  if (value.is_null()) return out = {}, true;
  if (const auto share = as_share(value)) return out = {.bytes = {}, .share = share}, true;
  const auto bytes = as_bytes(value);
  if (!bytes || *bytes == 0) return false;
  return out = {.bytes = bytes, .share = {}}, true;
}

Json write_limit(const ByteLimit& limit) {
  if (limit.bytes) return *limit.bytes;
  if (limit.share) return *limit.share;
  return {};
}

bool read_chunk_elements(const Json& value, std::uint64_t& out) {
  const bool has_suffix = unquoted(value).is_string();
  const auto count = as_bytes(value);
  if (!count || (has_suffix && *count % kBytesPerElement != 0)) return false;
  const std::uint64_t elements = has_suffix ? *count / kBytesPerElement : *count;
  if (elements < kMinChunkElements || elements > kMaxChunkElements) return false;
  return out = elements, true;
}

bool read_link_speed(const Json& value, std::uint64_t& out) {
  Json size = value;
  if (value.is_string() && value.get<std::string>().ends_with("/s")) {
    const auto text = value.get<std::string>();
    size = text.substr(0, text.size() - 2);
  }
  const auto bytes = as_bytes(size);
  if (!bytes) return false;
  return out = *bytes, true;
}

bool is_device_name(const std::string& name) {
  if (name == "auto" || name == "cpu" || name == "simulated" || name == "cuda") return true;
  constexpr std::string_view kCuda = "cuda:";
  return name.starts_with(kCuda) && name.size() > kCuda.size() &&
         name.find_first_not_of("0123456789", kCuda.size()) == name.npos;
}

bool is_filled_string(const Json& value) { return value.is_string() && !value.get<std::string>().empty(); }

}  // namespace

std::string describe(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list of " + std::to_string(value.size());
  if (value.is_null()) return "null";
  if (value.is_number() && !is_finite_number(value)) return std::isnan(value.get<double>()) ? "NaN" : "an infinity";
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  constexpr std::size_t kLongest = 80;
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  if (value.is_number()) return "the number " + text;
  return value.is_string() ? "the string " + text : text;
}

std::optional<std::uint64_t> as_whole(const Json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    return number >= 0 ? std::optional<std::uint64_t>(number) : std::nullopt;
  }
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  const bool fits = number >= 0 && number < 0x1p64 && number == std::floor(number);
  return fits ? std::optional(static_cast<std::uint64_t>(number)) : std::nullopt;
}

Kind<bool> boolean() {
  return {"true or false",
          [](const Json& value, bool& out) {
            if (!value.is_boolean()) return false;
            return out = value.get<bool>(), true;
          },
          [](const bool& value) { return Json(value); }};
}

Kind<bool> only(bool wanted, const std::string& because) {
  return {std::string(wanted ? "true" : "false") + " (" + because + ")",
          [wanted](const Json& value, bool& out) {
            if (value != Json(wanted)) return false;
            return out = wanted, true;
          },
          [](const bool& value) { return Json(value); }};
}

Kind<double> number(const std::string& wants, bool (*accepts)(double)) {
  return {wants,
          [accepts](const Json& value, double& out) {
            if (!is_finite_number(value) || !accepts(value.get<double>())) return false;
            return out = value.get<double>(), true;
          },
          [](const double& value) { return Json(value); }};
}

Kind<double> number_at_least_0() {
  return number("a number, 0 or more", [](double value) { return value >= 0; });
}

Kind<std::vector<double>> two_decay_rates() {
  return {"a list of two numbers, each from 0 to below 1",
          [](const Json& value, std::vector<double>& out) {
            const auto is_rate = [](const Json& rate) {
              return is_finite_number(rate) && rate.get<double>() >= 0 && rate.get<double>() < 1;
            };
            if (!value.is_array() || value.size() != 2 || !is_rate(value[0]) || !is_rate(value[1])) return false;
            return out = value.get<std::vector<double>>(), true;
          },
          [](const std::vector<double>& rates) { return Json(rates); }};
}

Kind<std::string> device_name() {
  return {R"("auto", "cpu", "simulated" or "cuda:N")",
          [](const Json& value, std::string& out) {
            if (!value.is_string() || !is_device_name(value.get<std::string>())) return false;
            return out = value.get<std::string>(), true;
          },
          [](const std::string& name) { return Json(name); }};
}

Kind<std::vector<std::string>> strings(const std::string& wants, bool may_be_empty) {
  return {wants,
          [may_be_empty](const Json& value, std::vector<std::string>& out) {
            if (is_filled_string(value)) return out = {value.get<std::string>()}, true;
            if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_filled_string)) return false;
            if (value.empty() && !may_be_empty) return false;
            return out = value.get<std::vector<std::string>>(), true;
          },
          [](const std::vector<std::string>& list) { return Json(list); }};
}

Kind<ByteLimit> byte_limit() {
  return {R"(bytes above 0, a size such as "8GiB", a share such as 0.8 or "80%", or null)", read_limit, write_limit};
}

Kind<std::uint64_t> size_in_multiples_of(std::uint64_t multiple) {
  return {"bytes or a size such as \"4MiB\", a multiple of " + std::to_string(multiple) + " above 0",
          [multiple](const Json& value, std::uint64_t& out) {
            const auto bytes = as_bytes(value);
            if (!bytes || *bytes == 0 || *bytes % multiple != 0) return false;
            return out = *bytes, true;
          },
          [](const std::uint64_t& bytes) { return Json(bytes); }};
}

Kind<std::uint64_t> link_speed() {
  return {R"(bytes per second or a size such as "12GB/s", 0 for unlimited)", read_link_speed,
          [](const std::uint64_t& speed) { return Json(speed); }};
}

Kind<std::uint64_t> chunk_elements() {
  return {R"(128 to 2^40 elements, or their fp32 bytes with a suffix such as "256MiB", a multiple of 4)",
          read_chunk_elements, [](const std::uint64_t& elements) { return Json(elements); }};
}

bool same_name(const std::string& a, const std::string& b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace asterias::config
