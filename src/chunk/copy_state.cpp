#include "chunk/copy_state.hpp"

#include <string>

#include "base/error.hpp"

namespace asterias::chunk {

std::string_view copy_state_name(CopyState state) {
  constexpr std::string_view kNames[] = {"absent", "arriving", "current", "leaving"};
  return kNames[static_cast<int>(state)];
}

bool is_legal(CopyState from, CopyState to) {
  constexpr bool kLegal[kNumCopyStates][kNumCopyStates] = {
      // absent, arriving, current, leaving
      {false, true, true, false},   // absent
      {true, false, true, false},   // arriving
      {true, false, false, true},   // current
      {false, false, true, false},  // leaving
  };
  return kLegal[static_cast<int>(from)][static_cast<int>(to)];
}

void transition(CopyState& state, CopyState to) {
  if (!is_legal(state, to))
    throw StateError(StateError::Cause::kBug, "illegal chunk transition: " + std::string(copy_state_name(state)) +
                                                  " -> " + std::string(copy_state_name(to)));
  state = to;
}

}  // namespace asterias::chunk
