// Call stacks of the running program, and which of its source files and functions they passed through.
//
// Taking one is cheap and allocates nothing; naming them runs addr2line (binutils) on the program, once for all. Frames
// of shared libraries carry the library's name only.
//
// Threading: take() is thread-safe and may run in a signal handler once prepare() has; the rest from one thread.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <unordered_map>
#include <vector>

namespace asterias::bench {

struct Stack {
  static constexpr int kDepth = 32;
  std::array<void*, kDepth> frames;  // innermost first
  int depth = 0;

  // Loads what the first stack of a process needs.
  static void prepare();
  // Leaves out the innermost `skipped` frames, this function's own included.
  [[gnu::noinline]] static Stack take(int skipped);
};

// A function that was inlined or called at a frame.
struct Place {
  std::string function;
  std::string file;  // as the compiler knew it
  int line = 0;
};

class StackNames {
 public:
  // Names the frames of `stacks`. Without addr2line all frames of the program stay nameless.
  explicit StackNames(const std::vector<Stack>& stacks);

  // Where in this project's src/ the innermost frame lies that does not belong to a library beneath us (libc, the C++
  // library, c10) or to a template of theirs; null when libtorch, a model or the benchmark comes first.
  const Place* own_place(const Stack& stack) const;
  // Who comes first where own_place is null: the first function of libtorch that has a symbol, else "a model or
  // benchmark".
  std::string other_function(const Stack& stack) const;

 private:
  enum class Owner { kOurs, kBeneath, kOthers };
  struct Frame {
    Owner owner = Owner::kOthers;
    Place place = {};
  };

  static Frame classify(const std::vector<Place>& inlined);
  void name_program_frames(const std::vector<void*>& addresses);

  std::unordered_map<void*, Frame> frames_;
};

}  // namespace asterias::bench
