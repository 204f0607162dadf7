#include "base/log.hpp"

#include <catch2/catch.hpp>

#include "tests/base/captured_stderr.hpp"

namespace asterias {
namespace {

CATCH_TEST_CASE("a log line appears from its level on", "[base]") {
  const tests::CapturedStderr captured;
  log::set_level(log::Level::kInfo);
  log::debug("too quiet");
  log::info("just heard");
  log::set_level(log::Level::kOff);
  log::error("not even this");
  log::set_level(log::Level::kWarning);
  const std::string text = captured.text();
  CATCH_CHECK(text.find("just heard\n") != std::string::npos);
  CATCH_CHECK(text.find("too quiet") == std::string::npos);
  CATCH_CHECK(text.find("not even") == std::string::npos);
}

CATCH_TEST_CASE("a message with braces is no format", "[base]") {
  const tests::CapturedStderr captured;
  log::warning("{} {0} {");
  CATCH_CHECK(captured.text().find("{} {0} {\n") != std::string::npos);
}

}  // namespace
}  // namespace asterias
