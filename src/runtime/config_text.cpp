// Reads the text twice: a pass over the events sees what the tree would hide (positions, repeated keys), then the tree
// is built.
#include "runtime/config_text.hpp"

#include <algorithm>
#include <cstddef>
#include <set>

#include <nlohmann/json.hpp>

namespace asterias::config {
namespace {

// No configuration has a tenth of it; the library calls itself for every level when it writes a value.
constexpr std::size_t kMaxLevels = 64;

// Keeps the part of nlohmann's message that says what is wrong, without its error number and position.
std::string reason_of(std::string_view what) {
  for (std::string_view before_reason : {"] ", "column "}) {
    const auto at = what.find(before_reason);
    if (at != std::string_view::npos) what.remove_prefix(at + before_reason.size());
  }
  const auto after_column = what.find(": ");
  const bool starts_with_column = after_column != std::string_view::npos &&
                                  std::all_of(what.begin(), what.begin() + static_cast<std::ptrdiff_t>(after_column),
                                              [](char c) { return c >= '0' && c <= '9'; });
  return std::string(starts_with_column ? what.substr(after_column + 2) : what);
}

// Names the place of the `position`-th character, counted from 1.
std::string place_of(std::string_view text, std::size_t position) {
  const auto before = text.substr(0, std::min(text.size(), position > 0 ? position - 1 : 0));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
  return "line " + std::to_string(line) + ", column " + std::to_string(before.size() - line_start + 1);
}

// Walks the events of one text and notes every repeated key and the first syntax error.
class TextCheck : public nlohmann::json_sax<Json> {
 public:
  TextCheck(std::string_view text, Complaints& complaints) : text_(text), complaints_(complaints) {}

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(number_integer_t) override { return value(); }
  bool number_unsigned(number_unsigned_t) override { return value(); }
  bool number_float(number_float_t, const string_t&) override { return value(); }
  bool string(string_t&) override { return value(); }
  bool binary(binary_t&) override { return value(); }

  bool start_object(std::size_t) override { return open(/*is_list=*/false); }
  bool start_array(std::size_t) override { return open(/*is_list=*/true); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    level.inner_path = level.path.empty() ? name : level.path + "." + name;
    if (!level.keys.insert(name).second) complaints_.push_back(level.inner_path + ": given twice; keep one");
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    complaints_.push_back("not valid JSON at " + place_of(text_, position) + ": " + reason_of(error.what()));
    return false;
  }

 private:
  struct Level {
    std::string path;
    std::string inner_path;  // of the value that comes next
    bool is_list;
    std::size_t next_index = 0;
    std::set<std::string> keys;
  };

  // Names the value that starts now.
  std::string next_path() {
    if (levels_.empty()) return "";
    Level& level = levels_.back();
    return level.is_list ? level.path + "[" + std::to_string(level.next_index++) + "]" : level.inner_path;
  }
  bool value() {
    next_path();
    return true;
  }
  bool open(bool is_list) {
    if (levels_.size() == kMaxLevels) {
      complaints_.push_back("lists and objects are nested more than " + std::to_string(kMaxLevels) + " levels deep");
      return false;
    }
    std::string path = next_path();
    levels_.push_back(Level{.path = path, .inner_path = path, .is_list = is_list, .next_index = 0, .keys = {}});
    return true;
  }
  bool close() {
    levels_.pop_back();
    return true;
  }

  std::string_view text_;
  Complaints& complaints_;
  std::vector<Level> levels_;
};

}  // namespace

Json parse_text(std::string_view text, Complaints& complaints) {
  TextCheck check(text, complaints);
  constexpr bool kStrict = true, kIgnoreComments = true, kAllowExceptions = true;
  const bool is_json = Json::sax_parse(text, &check, nlohmann::detail::input_format_t::json, kStrict, kIgnoreComments);
  return is_json ? Json::parse(text, nullptr, kAllowExceptions, kIgnoreComments) : Json();
}

}  // namespace asterias::config
