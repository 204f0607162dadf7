// A strict reader of XML, as strict as the report's pages need: says where a page is not well-formed.
//
// No validation, no namespaces, no entities but the five of XML and character references.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace asterias::tests {

class XmlCheck {
 public:
  // Empty when `text` is well-formed; otherwise what is wrong, with the place.
  static std::string complaint(std::string_view text) {
    XmlCheck check(text);
    return check.document() ? "" : check.what_ + " at ..." + std::string(text.substr(check.at_, 60));
  }

 private:
  explicit XmlCheck(std::string_view text) : text_(text) {}

  bool fail(const char* what) {
    what_ = what;
    return false;
  }
  bool starts(std::string_view with) const { return text_.substr(at_).starts_with(with); }
  bool skip_past(std::string_view end) {
    const auto found = text_.find(end, at_);
    if (found == std::string_view::npos) return fail("no end");
    at_ = found + end.size();
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  std::string name() {
    const auto start = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '-')) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }

  bool document() {
    if (starts("<!DOCTYPE html>") && !skip_past(">")) return false;
    skip_space();
    if (!starts("<")) return fail("no root element");
    do {
      if (!(starts("<") ? tag() : content(text_[at_]))) return false;
    } while (!open_.empty() && at_ < text_.size());
    if (!open_.empty()) return fail(("not closed: " + open_.back()).c_str());
    skip_space();
    return at_ == text_.size() || fail("something after the root element");
  }

  bool content(char c) {
    if (c == '&') return entity();
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 && c != '\n' && c != '\t') return fail("a control character");
    ++at_;
    return true;
  }

  bool entity() {
    for (const char* known : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"})
      if (starts(known)) return skip_past(";");
    return fail("an unknown entity");
  }

  bool tag() {
    if (starts("</")) {
      at_ += 2;
      if (open_.empty() || name() != open_.back() || !starts(">")) return fail("closes what is not open");
      open_.pop_back();
      return skip_past(">");
    }
    ++at_;
    const std::string element = name();
    if (element.empty()) return fail("a bare <");
    std::vector<std::string> seen;
    for (skip_space(); !starts(">") && !starts("/>"); skip_space()) {
      const std::string key = name();
      for (const auto& other : seen)
        if (other == key) return fail("an attribute twice");
      seen.push_back(key);
      if (key.empty() || !starts("=\"")) return fail("a broken attribute");
      for (at_ += 2; !starts("\"");) {
        if (at_ >= text_.size() || text_[at_] == '<') return fail("a broken attribute value");
        if (!content(text_[at_])) return false;
      }
      ++at_;
    }
    if (starts(">")) open_.push_back(element);
    return skip_past(">");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::string> open_;
  std::string what_;
};

}  // namespace asterias::tests
