// The kinds of value a configuration field may have: how each is read, written, and described to a person.
//
// A kind's `wants` is at once the type column of docs/config.md and the end of the complaint "found X, want ...", so
// the page, the reader and the complaint cannot disagree. Knows no key; config_fields.hpp does.
//
// Threading: pure functions. Units: bytes, unless the name says elements.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "runtime/config.hpp"
#include "runtime/config_text.hpp"

namespace asterias::config {

template <class T>
struct Kind {
  std::string wants;
  std::function<bool(const Json&, T&)> read;  // false, and T unchanged, when the value is not what the kind wants
  std::function<Json(const T&)>
      write;  // what read() reads back to an equal T, whenever it is a T that read() could give
};

// Says what was found, for a complaint: `the string "8Gb"`, `the number -1`, `a list of 3`.
std::string describe(const Json& value);

// Reads a whole number, also one written as 5e8 or 8.0. Empty for negative ones and from 2^64 on.
std::optional<std::uint64_t> as_whole(const Json& value);

Kind<bool> boolean();

// Accepts `only` and refuses its opposite; `because` says why.
Kind<bool> only(bool value, const std::string& because);

// A whole number from `min` to `max`, both included.
template <class T>
Kind<T> whole(T min, T max) {
  return {"an integer from " + std::to_string(min) + " to " + std::to_string(max),
          [min, max](const Json& value, T& out) {
            const auto number = as_whole(value);
            if (!number || *number < static_cast<std::uint64_t>(min) || *number > static_cast<std::uint64_t>(max))
              return false;
            out = static_cast<T>(*number);
            return true;
          },
          [](const T& value) { return Json(value); }};
}

// A finite number for which `accepts` holds.
Kind<double> number(const std::string& wants, bool (*accepts)(double));
Kind<double> number_at_least_0();

// Adam's pair of decay rates.
Kind<std::vector<double>> two_decay_rates();

// The compute device's name. Whether this build has that device is for EngineConfig::validate.
Kind<std::string> device_name();

// One string or a list of them, none empty; `may_be_empty` allows an empty list. Always written as a list.
Kind<std::vector<std::string>> strings(const std::string& wants, bool may_be_empty);

// A budget. Never written as both bytes and share: bytes win (EngineConfig::validate complains of both).
Kind<ByteLimit> byte_limit();

// A size that is a positive multiple of `multiple`.
Kind<std::uint64_t> size_in_multiples_of(std::uint64_t multiple);

// Bytes per second, 0 for unlimited; "/s" may follow the size.
Kind<std::uint64_t> link_speed();

// A chunk's length in elements, or its fp32 bytes when written with a suffix.
Kind<std::uint64_t> chunk_elements();

// One of a few names, read in any mix of cases.
template <class E>
Kind<E> choice(std::vector<std::pair<std::string, E>> names);

// `kind`, or null for unset.
template <class T>
Kind<std::optional<T>> or_null(Kind<T> kind) {
  return {kind.wants + ", or null",
          [read = kind.read](const Json& value, std::optional<T>& out) {
            if (value.is_null()) return out.reset(), true;
            T read_value{};
            if (!read(value, read_value)) return false;
            out = std::move(read_value);
            return true;
          },
          [write = kind.write](const std::optional<T>& value) { return value ? write(*value) : Json(); }};
}

// Compares ASCII letters regardless of case.
bool same_name(const std::string& a, const std::string& b);

template <class E>
Kind<E> choice(std::vector<std::pair<std::string, E>> names) {
  std::string wants;
  for (const auto& [name, value] : names) wants += (wants.empty() ? "\"" : " or \"") + name + "\"";
  return {wants,
          [names](const Json& value, E& out) {
            if (!value.is_string()) return false;
            for (const auto& [name, meaning] : names)
              if (same_name(name, value.get<std::string>())) return out = meaning, true;
            return false;
          },
          [names](const E& value) {
            for (const auto& [name, meaning] : names)
              if (meaning == value) return Json(name);
            return Json();
          }};
}

}  // namespace asterias::config
