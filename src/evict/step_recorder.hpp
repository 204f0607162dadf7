// Writes down what Residency is told and does, step by step, as a StepTrace (step_trace.hpp).
//
// It looks and never acts: nothing is moved, waited for or decided because of it. Residency has one while a trace runs,
// and none otherwise.
//
// Threading: thread-compatible; Residency's lock covers it.
// Units: as in StepTrace.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <unordered_map>
#include <vector>

#include "chunk/hierarchy.hpp"
#include "evict/books.hpp"
#include "evict/resident.hpp"
#include "evict/step_trace.hpp"

namespace asterias::evict {

class StepRecorder {
 public:
  using Clock = std::chrono::steady_clock;

  // Starts the first step with the residents as they lie. `hierarchy` and `books` outlive the recorder.
  StepRecorder(const chunk::Hierarchy& hierarchy, const Books& books,
               const std::vector<std::unique_ptr<Resident>>& residents);

  // A moment ends and the next one begins.
  void next_moment();
  // A copy came to a tier, or is gone from it.
  void enter(const Resident& resident, Tier tier);
  void leave(const Resident& resident, Tier tier);

  // Names the record of a move until it has ended. Moves still on their way at finish() end there.
  std::uint64_t start_move(const Resident& resident, Edge edge);
  void end_move(std::uint64_t record, const chunk::MoveTicket& ticket);
  void add_stall(Edge edge, Clock::time_point start, Clock::time_point end);
  // `name` has static storage.
  void add_operator(const char* name, Clock::time_point start, Clock::time_point end);
  void add_phase(const char* name, Clock::time_point start, Clock::time_point end);
  void add_update(const Resident& chunk, Clock::time_point start, Clock::time_point end);

  // Ends the step under its number and starts the next one.
  void end_step(std::int64_t step);
  // Ends the recording; the begun step is kept if it has passed a moment. REQUIRES: called once, last.
  StepTrace finish();

 private:
  using Since = std::array<Moment, kNumTiers>;  // kNever: not there

  StepTrace::Step& step() { return trace_.steps.back(); }
  void begin_step(std::int64_t at_ns);
  void close_step(std::int64_t at_ns);
  std::uint32_t row_of(const Resident& resident);
  void sample();
  TimeSpan within_step(Clock::time_point start, Clock::time_point end);

  const chunk::Hierarchy& hierarchy_;
  const Books& books_;
  StepTrace trace_;
  std::unordered_map<std::uint64_t, std::uint32_t> rows_;  // by Resident::id
  std::vector<Since> since_;                               // by row
  std::array<ContentBytes, kNumTiers> sampled_{};
  Moment moment_ = 0;
};

}  // namespace asterias::evict
