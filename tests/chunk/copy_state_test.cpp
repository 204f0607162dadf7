#include "chunk/copy_state.hpp"

#include <random>
#include <set>
#include <utility>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias::chunk {
namespace {

constexpr CopyState kStates[] = {CopyState::kAbsent, CopyState::kArriving, CopyState::kCurrent, CopyState::kLeaving};

// The table of the header, written a second time.
const std::set<std::pair<CopyState, CopyState>> kAllowed{
    {CopyState::kAbsent, CopyState::kArriving}, {CopyState::kAbsent, CopyState::kCurrent},
    {CopyState::kArriving, CopyState::kAbsent}, {CopyState::kArriving, CopyState::kCurrent},
    {CopyState::kCurrent, CopyState::kAbsent},  {CopyState::kCurrent, CopyState::kLeaving},
    {CopyState::kLeaving, CopyState::kCurrent},
};

CATCH_TEST_CASE("copy state: every step is in the table or an error that names both states", "[chunk]") {
  for (const CopyState from : kStates)
    for (const CopyState to : kStates) {
      CATCH_CAPTURE(copy_state_name(from), copy_state_name(to));
      CATCH_CHECK(is_legal(from, to) == (kAllowed.count({from, to}) == 1));
      CopyState state = from;
      if (is_legal(from, to)) {
        transition(state, to);
        CATCH_CHECK(state == to);
        continue;
      }
      CATCH_CHECK_THROWS_AS(transition(state, to), StateError);
      CATCH_CHECK_THROWS_WITH(transition(state, to), Catch::Contains(std::string(copy_state_name(from))) &&
                                                         Catch::Contains(std::string(copy_state_name(to))));
      CATCH_CHECK(state == from);
    }
}

CATCH_TEST_CASE("copy state: a random walk never leaves the table", "[chunk]") {
  std::mt19937_64 random(3);
  CopyState state = CopyState::kAbsent;
  std::set<std::pair<CopyState, CopyState>> seen;
  for (int step = 0; step < 2000; ++step) {
    const CopyState before = state, wanted = kStates[random() % kNumCopyStates];
    try {
      transition(state, wanted);
      seen.insert({before, wanted});
    } catch (const StateError& error) {
      CATCH_REQUIRE(error.cause() == StateError::Cause::kBug);
      CATCH_REQUIRE(state == before);
    }
  }
  CATCH_CHECK(seen == kAllowed);
}

}  // namespace
}  // namespace asterias::chunk
