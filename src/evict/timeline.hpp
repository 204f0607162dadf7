// What steps do, moment by moment, and therefore when each resident will be used next, and where.
//
// A step is a chain of segments: its passes (one forward and its backward each) and the update. The first segment of a
// signature is recorded; later ones of the same signature are followed, operator by operator. One that leaves its trace
// is not an error: from there on nothing is foretold (policies fall back to recency), and it is recorded anew. Which
// segment comes next is foretold from those that came before: what followed the last time the same ones did.
//
// Words: a moment is the index of a boundary within the segment: of a leaf operator in a pass, of a chunk in the
// update. Moments of segments to come count on from the present one's last.
//
// Invariants
//   * next_use(key) > now(), or nothing; equal traces and moments give equal answers.
//   * Outside a segment (evaluation, metrics, user code) now() stands still and nothing is recorded.
//   * A segment that is followed allocates nothing.
//
// Threading: thread-compatible; Residency's lock covers it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/tier.hpp"

namespace asterias::evict {

using Moment = std::uint32_t;
inline constexpr Moment kNever = UINT32_MAX;

enum class Access : std::uint8_t {
  kRead,
  kWrite,      // reads and writes: all other copies become absent
  kOverwrite,  // writes every byte that matters: the old content need not be brought
};

// Names a resident across steps: a chunk by its identity, an activation by the moment of its birth and its place among
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
  friend bool operator==(TraceKey a, TraceKey b) { return a.value_ == b.value_; }

 private:
  static constexpr std::uint64_t kChunkBit = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kBirthBit = std::uint64_t{1} << 62;
  explicit TraceKey(std::uint64_t value) : value_(value) {}
  std::uint64_t value_ = 0;
};

// One use of a resident.
struct Use {
  Moment at;
  TraceKey key;
  Tier tier;
  Access access;
};

// One boundary of the trace.
struct MomentRecord {
  std::uint64_t operator_hash;   // name and shapes: what "the same operator" means
  std::uint64_t need_bytes = 0;  // of the compute tier: pinned and unmovable at once, the most within the moment
  std::uint64_t live_bytes = 0;  // activations that live, wherever they lie, and what cannot move on the compute tier
};

// A recorded segment. Immutable once stored.
struct Trace {
  std::vector<MomentRecord> moments;
  std::vector<Use> schedule;                                           // in order
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> uses;  // by TraceKey::value(): places in the schedule
  std::uint64_t signature = 0;
  bool is_update = false;

  Moment length() const { return static_cast<Moment>(moments.size()); }
  // Finds the first use of `key` at `from` or later; null when there is none.
  const Use* first_use(TraceKey key, Moment from) const;
  std::uint64_t peak_need_bytes() const;
};

class Timeline {
 public:
  // Starts a pass, or the update. `signature` identifies what should repeat (module, argument shapes, mode). An open
  // segment is ended first.
  void begin_pass(std::uint64_t signature) { begin(signature, false); }
  void begin_update(std::uint64_t signature) { begin(signature, true); }
  // Ends the segment and keeps its trace if it is new. Without an open one nothing happens.
  void end_pass();
  void end_update() { end_pass(); }
  // Ends the segment and forgets what was recorded of it (an exception cut it short).
  void abandon_pass();
  bool in_pass() const { return is_open_ && !is_update_; }

  // Stops and resumes recording within a pass, for an evaluation in the middle of it.
  void suspend() { ++suspended_; }
  void resume() { --suspended_; }
  bool is_suspended() const { return suspended_ > 0; }

  // Passes a boundary: the next moment begins.
  void on_operator(std::uint64_t operator_hash);
  void on_use(TraceKey key, Tier tier, Access access);
  // Names a resident that is born now; unnamed outside a pass.
  TraceKey on_birth();
  void on_need(std::uint64_t need_bytes);
  void on_live(std::uint64_t live_bytes);

  Moment now() const { return now_; }
  // True when the present segment is the one foretold.
  bool is_foretold() const { return plan_ != nullptr && !diverged_; }
  // Foretells the next use after now(): in this segment, else, for chunks, in one to come.
  std::optional<Use> next_use(TraceKey key) const;
  // While it is the same, an answer of next_use holds until that use is now().
  std::uint64_t epoch() const { return forecast_ + num_begun_; }

  // A place in what is foretold, ahead of now(). Starts at the present.
  struct Cursor {
    std::uint64_t forecast = 0;  // which forecast it belongs to
    std::uint64_t segment = 0;   // counted from the first that was begun
    std::size_t at = 0;          // in that segment's schedule
  };
  // The first use at the cursor or after it that lies after now(); moves the cursor there. Of segments to come only
  // chunks' uses. Nothing when all that is foretold has been seen.
  std::optional<Use> look(Cursor& cursor) const;
  static void advance(Cursor& cursor) { ++cursor.at; }
  // Moves a cursor back to the first use at that moment, if it is beyond.
  void go_back(Cursor& cursor, Moment to) const;
  // Moves a cursor back to the present.
  void rewind(Cursor& cursor) const { cursor = {forecast_, num_begun_, 0}; }
  // The first use after the update that comes next, as next_use foretells.
  std::optional<Use> use_after_update(TraceKey key) const;
  // True when the segment that follows is foretold to be this update.
  bool is_update_next(std::uint64_t signature) const;
  // Where an update uses the resident between now() and that use, so that its bytes are not yet what they will be: the
  // last one's tier.
  std::optional<Tier> updated_before(const Use& use) const;
  // How many more bytes than at now() will live at the fullest moment until that one.
  std::uint64_t growth_until(Moment moment) const;

  // The moment of use number `count` after now(): what is used later than that is not used soon. kNever when the
  // present pass has fewer uses left, or is not foretold.
  Moment moment_of_upcoming(std::size_t count) const;
  // What has been used at now().
  std::span<const Use> used_now() const;

  // The last pass that was begun, once it is known.
  const Trace* plan() const { return plan_of_pass_.get(); }
  std::uint64_t num_passes() const { return num_passes_; }  // begun
  std::uint64_t num_recorded() const { return num_recorded_; }
  std::uint64_t num_diverged() const { return num_diverged_; }

 private:
  static constexpr std::size_t kMaxPlans = 64;
  static constexpr std::size_t kMaxHistory = 256;
  static constexpr std::size_t kMaxChain = 64;

  struct Link {
    std::shared_ptr<const Trace> trace;
    Moment base;  // of its moment 0
  };

  bool is_active() const { return is_open_ && suspended_ == 0; }
  void begin(std::uint64_t signature, bool is_update);
  void store();
  void diverge();
  void skip_past();
  void foretell();
  std::optional<std::uint64_t> successor(const std::vector<std::uint64_t>& past) const;

  std::unordered_map<std::uint64_t, std::shared_ptr<const Trace>> plans_;
  std::vector<std::uint64_t> plan_order_;  // oldest first, for forgetting
  std::vector<std::uint64_t> history_;     // signatures of the segments begun, the latest last
  std::shared_ptr<const Trace> plan_;      // of the present segment, or of the last one
  std::shared_ptr<const Trace> plan_of_pass_;
  std::vector<Link> chain_;              // plan_ and those foretold to follow
  std::vector<std::uint64_t> foreseen_;  // scratch of foretell()
  Trace recording_;
  std::vector<Use> used_now_;
  std::uint64_t signature_ = 0;
  std::uint64_t forecast_ = 0;
  std::uint64_t num_begun_ = 0;  // segments
  Moment now_ = 0;
  std::size_t upcoming_ = 0;  // the first entry of the plan's schedule after now_
  std::uint32_t births_ = 0;
  int suspended_ = 0;
  bool is_open_ = false;
  bool is_update_ = false;
  bool diverged_ = false;
  std::uint64_t num_passes_ = 0;
  std::uint64_t num_recorded_ = 0;
  std::uint64_t num_diverged_ = 0;
};

}  // namespace asterias::evict
