// Which branches of the readers an input has taken: the compiler calls us at every edge (-fsanitize-coverage=trace-pc).
//
// Not a report for people, and not libFuzzer, which only clang has: just enough to tell whether an input did something
// new. Edges are hashed into a small map, so a few are taken for one another.
//
// Threading: one thread runs inputs.
#pragma once

#include <cstddef>

namespace asterias::fuzz {

// Forgets what the last input did.
void begin_input();

// Says whether the input since begin_input() took an edge, or took one more often by powers of two, that none before
// it did.
bool took_something_new();

// Counts the edges that all inputs together have taken.
std::size_t num_edges();

}  // namespace asterias::fuzz
