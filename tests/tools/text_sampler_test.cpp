// Picking bytes from logits, and showing them.
#include "tools/text_sampler.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias::tools {
namespace {

std::vector<float> flat_logits(std::size_t size) { return std::vector<float>(size, 0.0F); }

CATCH_TEST_CASE("temperature 0 picks the likeliest byte", "[unit]") {
  auto logits = flat_logits(256);
  logits[65] = 1;
  logits[66] = 0.9F;
  TextSampler sampler(0, 1);
  for (int i = 0; i < 10; ++i) CATCH_CHECK(sampler.pick(logits) == 65);
}

CATCH_TEST_CASE("bytes are drawn by their probabilities and the temperature sharpens them", "[unit]") {
  auto logits = flat_logits(256);
  for (auto& logit : logits) logit = -100;
  logits[10] = 0;
  logits[20] = std::log(3.0F);  // three times as likely
  const auto count = [&](double temperature) {
    TextSampler sampler(temperature, 5);
    int num_likelier = 0;
    for (int i = 0; i < 4000; ++i) {
      const int byte = sampler.pick(logits);
      CATCH_REQUIRE((byte == 10 || byte == 20));
      num_likelier += byte == 20;
    }
    return num_likelier;
  };
  const int as_it_is = count(1), sharper = count(0.5);
  CATCH_CHECK(as_it_is > 2850);  // 3000 expected, 5 standard deviations are 137
  CATCH_CHECK(as_it_is < 3150);
  CATCH_CHECK(sharper > 3500);  // 3600 expected
}

CATCH_TEST_CASE("tokens beyond the bytes and NaNs are never picked", "[unit]") {
  auto logits = flat_logits(300);
  logits[299] = 1000;
  for (std::size_t i = 0; i < 256; ++i) logits[i] = std::numeric_limits<float>::quiet_NaN();
  logits[7] = -5;
  for (const double temperature : {0.0, 1.0}) CATCH_CHECK(TextSampler(temperature, 1).pick(logits) == 7);
}

CATCH_TEST_CASE("the same seed gives the same bytes", "[unit]") {
  const auto logits = flat_logits(256);
  TextSampler one(1, 3), same(1, 3), other(1, 4);
  std::string a, b, c;
  for (int i = 0; i < 20; ++i) {
    a += static_cast<char>(one.pick(logits));
    b += static_cast<char>(same.pick(logits));
    c += static_cast<char>(other.pick(logits));
  }
  CATCH_CHECK(a == b);
  CATCH_CHECK(a != c);
}

CATCH_TEST_CASE("what a terminal would obey or cannot show is escaped", "[unit]") {
  CATCH_CHECK(escaped_text("And God said") == "And God said");
  CATCH_CHECK(escaped_text("a\nb\tc\\d") == "a\\nb\\tc\\\\d");
  CATCH_CHECK(escaped_text("\x1b[2J\x7f\xff") == "\\x1b[2J\\x7f\\xff");
  CATCH_CHECK(escaped_text(std::string(1, '\0')) == "\\x00");
}

}  // namespace
}  // namespace asterias::tools
