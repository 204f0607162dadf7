// A step as a run has measured it, with the tiers and the policy it ran on: all that the simulator needs, in a file.
//
// `asterias plan --save-script` writes one, bench/replay plays it elsewhere and otherwise. The text is JSON, described
// in docs/benchmarks.md; its version is part of it.
//
// Threading: plain values and pure functions.
#pragma once

#include <string>

#include "evict/pass_script.hpp"
#include "evict/simulator.hpp"

namespace asterias::evict {

struct RecordedStep {
  PassScript script;
  SimulatedTiers tiers;
  std::string policy;  // its name, see make_policy

  // Of the step as it is.
  Simulation play() const;
  // Takes the operators' times from a longer script of the same run whose later passes are the first ones once more:
  // pass number n is played again as number `pass_starts.size()` + n.
  void take_times(const PassScript& longer);
};

// One JSON object.
std::string to_json(const RecordedStep& step);
// Writes it to a file. Throws IoError.
void save(const RecordedStep& step, const std::string& path);

// Throws ConfigError saying what is wrong and where. `name` is the file's, for the message.
RecordedStep recorded_step_from_json(const std::string& text, const std::string& name);

}  // namespace asterias::evict
