// What happened in the recorded steps: who computed, moved and waited when, and what lay where from moment to moment.
//
// Plain values, made by StepRecorder (step_recorder.hpp) and written as a Chrome trace by RunLog. Not the Trace of a
// pass (timeline.hpp), which foretells.
//
// Words: a moment here counts the operators and chunk updates of a step, all of its passes and what lies between them
// included; moment 0 is before the first.
//
// Invariants
//   * Spans end after they start, within their step; a move belongs to the step that starts it and may end later.
//   * Stalls sum to StepStats' stall times, moves to its bytes.
//   * The sample of (moment, tier) is taken when the moment ends; the kinds of residents in it are the sum of the
//     residences with from <= moment < to, but for activations that have become gradients, which count as such in
//     samples. Moments without a sample are as the one before.
//
// Threading: plain values. Units: nanoseconds of std::chrono::steady_clock, bytes, moments.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/tier.hpp"
#include "evict/content_kind.hpp"
#include "evict/edge.hpp"
#include "evict/timeline.hpp"

namespace asterias::evict {

struct TimeSpan {
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;
};

// Somebody who lay somewhere in a recorded step.
struct TracedResident {
  ContentKind kind;
  std::uint64_t number;  // of the chunk, or of the activation
  const char* made_by;   // the operator whose output or input an activation was when it was adopted; static storage
  std::uint64_t bytes;

  // Says "chunk 12 exp_avg", "activation 345 (aten::gelu)".
  std::string name() const;
};

struct StepTrace {
  // The kernel of a leaf operator: what it waited for before it started is not in it.
  struct Operator {
    TimeSpan span;
    const char* name;
  };
  // "forward", "backward" or "update".
  struct Phase {
    TimeSpan span;
    const char* name;
  };
  struct ChunkUpdate {
    TimeSpan span;
    std::uint64_t chunk;  // a TracedResident's number
  };
  // The span is the transfer's own, without the time in a queue.
  struct Move {
    TimeSpan span;
    Edge edge;
    std::uint32_t resident;  // index into residents
  };
  struct Stall {
    TimeSpan span;
    Edge edge;  // whose end was waited for
  };
  struct Sample {
    Moment moment;
    std::int64_t at_ns;
    Tier tier;
    ContentBytes bytes;
  };
  // A copy lay on `tier` from moment `from` until before `to`.
  struct Residence {
    std::uint32_t resident;
    Tier tier;
    Moment from;
    Moment to;
  };
  struct Step {
    std::int64_t step = 0;
    TimeSpan span;
    Moment num_moments = 0;
    std::vector<Operator> operators;
    std::vector<Phase> phases;
    std::vector<ChunkUpdate> updates;
    std::vector<Move> moves;
    std::vector<Stall> stalls;
    std::vector<Sample> samples;
    std::vector<Residence> residences;
  };

  std::array<std::uint64_t, kNumTiers> limit_bytes{};  // UINT64_MAX: none; 0: no such tier
  std::vector<TracedResident> residents;
  std::vector<Step> steps;
};

}  // namespace asterias::evict
