// What a pass did, moment by moment, and therefore when each resident will be used next.
//
// The first pass of a signature is recorded; later passes of the same signature are followed, operator by operator. A
// pass that leaves its trace is not an error: from there on nothing is foretold (policies fall back to recency), and
// the pass is recorded anew. Passes are always recorded while they run, so that a divergence costs no second warm-up.
//
// Words: a moment is the index of a leaf operator within the pass; a pass is one forward and its backward; the update
// follows it.
//
// Invariants
//   * next_use(key) > now(), or kNever; equal traces and moments give equal answers.
//   * Outside a pass (evaluation, metrics, user code) now() stands still and nothing is recorded.
//
// Threading: thread-compatible; Residency's lock covers it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace asterias::evict {

using Moment = std::uint32_t;
inline constexpr Moment kNever = UINT32_MAX;

// Names a resident across passes: a chunk by its identity, an activation by the moment of its birth and its place among
// those born at that moment.
class TraceKey {
 public:
  TraceKey() = default;  // unnamed: born outside a pass
  static TraceKey of_chunk(std::uint32_t chunk) { return TraceKey(kChunkBit | chunk); }
  static TraceKey of_birth(Moment moment, std::uint32_t ordinal) {
    return TraceKey((std::uint64_t{moment} << 16) | (ordinal & 0xFFFF) | kBirthBit);
  }
  bool is_named() const { return value_ != 0; }
  bool is_chunk() const { return (value_ & kChunkBit) != 0; }
  std::uint64_t value() const { return value_; }

 private:
  static constexpr std::uint64_t kChunkBit = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kBirthBit = std::uint64_t{1} << 62;
  explicit TraceKey(std::uint64_t value) : value_(value) {}
  std::uint64_t value_ = 0;
};

// One boundary of the trace.
struct MomentRecord {
  std::uint64_t operator_hash;  // name and shapes: what "the same operator" means
  std::uint64_t need_bytes;     // of the compute tier: pinned and unmovable at once, the most within the moment
};

// A recorded pass. Immutable once stored.
struct Trace {
  std::vector<MomentRecord> moments;
  std::unordered_map<std::uint64_t, std::vector<Moment>> uses;  // by TraceKey::value(), ascending
  std::vector<std::pair<Moment, TraceKey>> schedule;            // all uses, in order

  Moment length() const { return static_cast<Moment>(moments.size()); }
  // Finds the first use of `key` after `now`; kNever when there is none in this pass.
  Moment next_use_after(TraceKey key, Moment now) const;
  std::uint64_t peak_need_bytes() const;
};

class Timeline {
 public:
  // Starts a pass. `signature` identifies what should repeat (module, argument shapes, mode). An open pass is ended
  // first.
  void begin_pass(std::uint64_t signature);
  // Ends the pass and keeps its trace if it is new. Without an open pass nothing happens.
  void end_pass();
  // Ends the pass and forgets what was recorded of it (an exception cut it short).
  void abandon_pass();
  bool in_pass() const { return in_pass_; }

  // Stops and resumes recording within a pass, for an evaluation in the middle of it.
  void suspend() { ++suspended_; }
  void resume() { --suspended_; }
  bool is_suspended() const { return suspended_ > 0; }

  // Passes an operator boundary: the next moment begins.
  void on_operator(std::uint64_t operator_hash);
  void on_use(TraceKey key);
  // Names a resident that is born now; unnamed outside a pass.
  TraceKey on_birth();
  void on_need(std::uint64_t need_bytes);

  // The update phase: chunk number `index` of `count` is being updated. Moments count on after the pass.
  void on_update(std::uint32_t index, std::uint32_t count);
  void end_update();

  Moment now() const { return now_; }
  // True when the present pass is the one foretold.
  bool is_foretold() const { return plan_ != nullptr && !diverged_; }
  // Foretells the next use: in this pass, else in the update for a chunk, else in the next pass. `update_index` is the
  // chunk's place in the update, negative for what is not updated. kNever when unknown.
  Moment next_use(TraceKey key, std::int64_t update_index) const;

  // Visits what the present pass will use after now(), soonest first, until `visit(moment, key)` returns false. Nothing
  // where nothing is foretold.
  template <class Visit>
  void visit_upcoming(const Visit& visit) const {
    if (!is_active() || !is_foretold()) return;
    for (std::size_t at = upcoming_; at < plan_->schedule.size(); ++at)
      if (!visit(plan_->schedule[at].first, plan_->schedule[at].second)) return;
  }

  // The moment of use number `count` after now(): what is used later than that is not used soon. kNever when the
  // present pass has fewer uses left, or is not foretold.
  Moment moment_of_upcoming(std::size_t count) const;
  // Visits what has been used at now().
  template <class Visit>
  void visit_used_now(const Visit& visit) const {
    if (!is_active()) return;
    const auto& uses = recording_.schedule;
    for (auto use = uses.rbegin(); use != uses.rend() && use->first == now_; ++use) visit(use->second);
  }

  const Trace* plan() const { return plan_.get(); }
  std::uint64_t num_passes() const { return num_passes_; }  // begun
  std::uint64_t num_recorded() const { return num_recorded_; }
  std::uint64_t num_diverged() const { return num_diverged_; }

 private:
  static constexpr std::size_t kMaxPlans = 64;

  bool is_active() const { return in_pass_ && suspended_ == 0; }
  void store();

  std::unordered_map<std::uint64_t, std::shared_ptr<const Trace>> plans_;
  std::vector<std::uint64_t> plan_order_;  // oldest first, for forgetting
  std::shared_ptr<const Trace> plan_;      // of the present pass, or of the last one
  Trace recording_;
  std::uint64_t signature_ = 0;
  Moment now_ = 0;
  std::size_t upcoming_ = 0;  // the first entry of the plan's schedule after now_
  std::uint32_t births_ = 0;
  std::uint32_t update_count_ = 0;
  int suspended_ = 0;
  bool in_pass_ = false;
  bool diverged_ = false;
  std::uint64_t num_passes_ = 0;
  std::uint64_t num_recorded_ = 0;
  std::uint64_t num_diverged_ = 0;
};

}  // namespace asterias::evict
