// The life of one payload's copy on one tier, in four named states and a table of what may follow what.
//
//   from \ to    absent      arriving    current     leaving
//   absent       .           move starts born        .
//   arriving     move fails  .           arrived     .
//   current      dropped     .           .           write-down starts
//   leaving      .           .           move ended  .
//
// "current" means: these are the payload's newest bytes. Every current copy of a payload holds the same bytes; a write
// makes all others absent. A leaving copy is still current and readable; it is only not to be dropped or written. A
// departure that has ended is therefore leaving -> current -> absent.
//
// Threading: values; whoever owns the state holds Residency's lock.
#pragma once

#include <cstdint>
#include <string_view>

namespace asterias::chunk {

enum class CopyState : std::uint8_t { kAbsent, kArriving, kCurrent, kLeaving };

inline constexpr int kNumCopyStates = 4;

std::string_view copy_state_name(CopyState state);

// Says whether the table above has an entry for this step.
bool is_legal(CopyState from, CopyState to);

// Moves `state` to `to`; throws StateError (a bug) when the table forbids it.
void transition(CopyState& state, CopyState to);

}  // namespace asterias::chunk
