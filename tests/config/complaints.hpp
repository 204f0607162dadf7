// Runs something that must end in a ConfigError and hands back what it complained of.
#pragma once

#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias {

// Returns the complaints of `call`, none when it does not throw.
template <class Call>
std::vector<std::string> complaints_of(Call&& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.complaints();
  }
  return {};
}

// Checks that `call` ends in exactly one complaint and returns it ("" otherwise).
template <class Call>
std::string complaint_of(Call&& call) {
  const auto complaints = complaints_of(call);
  CATCH_CHECK(complaints.size() == 1);
  return complaints.size() == 1 ? complaints.front() : "";
}

}  // namespace asterias
