// Residency without bytes: where the actors of a script lie, what moves, and what time it is.
//
// Follows Residency's rules one by one (residency.cpp, residency_ahead.cpp): who is changed there is changed here. It
// has one thread, whose clock stands still except while it works or waits for a move. The simulator (simulator.cpp)
// plays the steps on it.
//
// Invariants
//   * A move that takes no time has ended when the call that starts it returns.
//   * What cannot be made to fit enters all the same: a refusal says so, not a simulation.
//
// Threading: thread-compatible. Units: bytes, moments, nanoseconds.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "chunk/copy_state.hpp"
#include "evict/eviction_policy.hpp"
#include "evict/move_lanes.hpp"
#include "evict/pass_script.hpp"
#include "evict/simulated_books.hpp"
#include "evict/simulator.hpp"

namespace asterias::evict {

// One actor of the script, where it lies now.
struct SimulatedActor {
  struct Move {
    Tier from, to;
    bool leaves;
    std::uint64_t end_ns;
  };

  const PassScript::Actor* script;
  std::array<chunk::CopyState, kNumTiers> states{};
  std::array<std::uint64_t, kNumTiers> arrival{};
  std::optional<Move> move;
  bool blank = false;
  bool alive = false;
  Moment pinned_at = kNever;
  std::uint64_t last_use = 0;
  std::vector<Moment> uses;  // in a step, ascending

  bool is_chunk() const { return script->kind < ContentKind::kActivation; }
  bool existed() const;  // when the script began
  chunk::CopyState on(Tier tier) const { return states[index_of(tier)]; }
  bool is_absent(Tier tier) const { return on(tier) == chunk::CopyState::kAbsent; }
  bool is_current(Tier tier) const { return on(tier) == chunk::CopyState::kCurrent; }
  bool is_readable(Tier tier) const { return is_current(tier) || on(tier) == chunk::CopyState::kLeaving; }
};

class SimulatedResidency {
 public:
  // What a step's passes use, in order: (moment, actor).
  using Schedule = std::vector<std::pair<Moment, std::uint32_t>>;

  // The actors lie as when the script began. All arguments must outlive it.
  SimulatedResidency(const PassScript& script, const SimulatedTiers& tiers, const EvictionPolicy& policy);

  // Says when each actor is used in a step of `period` moments.
  void foretell(Schedule schedule, Moment period) {
    schedule_ = std::move(schedule);
    period_ = period;
  }
  SimulatedActor& actor(std::uint32_t index) { return actors_[index]; }
  std::vector<SimulatedActor>& actors() { return actors_; }

  // ---- what happens in a step
  void begin_step();
  // The next moment, of an operator: offloads, fetches ahead and cleans.
  void begin_operator();
  // The next moment, of the update.
  void begin_update();
  void work(std::uint64_t ns) { now_ns_ += ns; }
  // Begins to bring the actor to `tier`; await_uses() waits for all that were asked for.
  void use(SimulatedActor& actor, Tier tier, bool writes);
  void await_uses();
  void be_born(SimulatedActor& actor, Tier tier);
  void die(SimulatedActor& actor);
  void forget(SimulatedActor& actor);
  void set_unmovable(Tier tier, std::uint64_t bytes);
  void prefetch(SimulatedActor& actor, Tier tier) { try_prefetch(actor, tier); }
  void write_behind(SimulatedActor& actor, Tier tier) { start_write_behind(actor, tier); }
  std::uint64_t shortfall(Tier tier, std::uint64_t bytes) const;

  // ---- what came of it
  std::uint64_t now_ns() const { return now_ns_; }
  Moment now() const { return now_; }
  const SimulatedBooks& books() const { return books_; }
  std::uint64_t most_unmovable_bytes() const { return most_unmovable_bytes_; }
  std::uint64_t most_activation_bytes() const { return most_activation_bytes_; }
  // Of the present step.
  const std::array<std::uint64_t, kNumEdges>& moved_bytes() const { return moved_bytes_; }
  const std::array<std::uint64_t, kNumEdges>& stall_ns() const { return stall_ns_; }

 private:
  struct Use {
    SimulatedActor* actor;
    Tier tier;
    bool writes;
  };

  bool has_below(Tier tier) const { return tier != tiers_.levels.back(); }
  Tier below(Tier tier) const;
  Tier compute_tier() const { return tiers_.levels.front(); }

  void start_bring(SimulatedActor& actor, Tier tier);
  std::optional<Tier> source_of(const SimulatedActor& actor, Tier tier) const;
  void claim(SimulatedActor& actor, Tier tier);
  void start_move(SimulatedActor& actor, Tier from, Tier to, bool leaves);
  void finish_move(SimulatedActor& actor);

  void make_room(Tier tier, std::uint64_t bytes);
  bool start_departures(std::uint64_t lacking, Tier tier);
  bool depart(SimulatedActor& actor, Tier tier);
  bool finish_one(Tier tier);
  void finish_done();
  std::uint64_t leaving_bytes(Tier tier) const;
  std::vector<Candidate> ranked(Tier tier) const;
  bool is_redundant(const SimulatedActor& actor, Tier tier) const;
  bool is_pinned(const SimulatedActor& actor) const;
  Moment next_use(const SimulatedActor& actor) const;

  void run_ahead();
  void fetch_ahead();
  void clean_ahead();
  bool try_prefetch(SimulatedActor& actor, Tier tier);
  bool drop_clean_for(std::uint64_t bytes, Tier tier, Moment used_at);
  bool start_write_behind(SimulatedActor& actor, Tier tier);
  void offload_used();
  Moment moment_of_upcoming(std::size_t count);
  void skip_past();

  void enter(SimulatedActor& actor, Tier tier, chunk::CopyState state);
  void drop(SimulatedActor& actor, Tier tier);
  void drop_all(SimulatedActor& actor);
  void set_alive(SimulatedActor& actor, bool alive);

  const SimulatedTiers& tiers_;
  const EvictionPolicy& policy_;
  MoveLanes lanes_;
  SimulatedBooks books_;
  std::vector<SimulatedActor> actors_;
  std::vector<SimulatedActor*> in_flight_;  // oldest first
  std::vector<Use> awaited_;
  std::vector<SimulatedActor*> used_;  // activations, by the present operator
  Schedule schedule_;
  std::size_t upcoming_ = 0;
  std::array<std::uint64_t, kNumEdges> moved_bytes_{};
  std::array<std::uint64_t, kNumEdges> stall_ns_{};
  std::uint64_t largest_bytes_ = 0;
  std::uint64_t activation_bytes_ = 0;
  std::uint64_t most_activation_bytes_ = 0;
  std::uint64_t most_unmovable_bytes_ = 0;
  std::uint64_t clock_ = 0;  // counts uses and arrivals
  std::uint64_t now_ns_ = 0;
  Moment now_ = 0;
  Moment period_ = 0;
};

}  // namespace asterias::evict
