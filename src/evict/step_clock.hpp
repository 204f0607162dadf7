// Measures how long the computing thread works between the boundaries of a step, and writes it into a script.
//
// The span from one operator's beginning to the next one's, waiting for moves left out, is what the first operator
// costs on any placement: its kernel, torch's bookkeeping, ours, and what the caller does in between. Passes are told
// apart by their place in the step, operators by their place in the pass and their hash; what does not match the script
// is not measured. What a program does outside of passes and step() belongs to no operator.
//
// Called by Residency at each boundary.
//
// Threading: thread-compatible; Residency's lock covers it. Units: nanoseconds.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "evict/pass_script.hpp"

namespace asterias::evict {

class StepClock {
 public:
  struct Now {
    std::chrono::steady_clock::time_point time;
    std::uint64_t stalled_ns;  // that moves were waited for, since any fixed moment
  };
  struct Place {
    bool in_pass;
    std::uint64_t num_passes;  // begun so far
  };

  // An operator begins, of which the script has just been told.
  void add_operator(PassScript& script, Place place, std::uint64_t hash, Now now);
  // An operator begins that the script, which is complete, may know.
  void begin_operator(PassScript& script, Place place, std::uint64_t hash, Now now);
  // step() has been called.
  void begin_step_call(PassScript& script, Now now);
  // The chunk at place `index` of the update comes next.
  void begin_update(PassScript& script, std::size_t index, Now now);
  // Says whether the script knows the present pass, or the last one, so far.
  bool is_known() const { return is_known_; }
  // Ends the span that runs, if one does.
  void stop(Now now);
  // The next pass is the first of a step.
  void end_step(std::uint64_t num_passes) { num_passes_before_ = num_passes; }
  // Forgets what runs: the script goes.
  void forget() { work_ = nullptr; }

 private:
  void start(PassScript::Work& work, Now now);
  bool begin_pass(std::uint64_t num_passes);

  // Of a vector that grows only after a stop.
  PassScript::Work* work_ = nullptr;
  Now start_{};
  std::uint64_t num_passes_ = 0;  // begun when the last operator began
  std::uint64_t num_passes_before_ = 0;
  std::size_t position_ = 0;  // in the pass
  bool is_known_ = false;     // the pass is the script's so far
};

}  // namespace asterias::evict
