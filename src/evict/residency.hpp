// Moves residents between tiers so that what is pinned is there, and no tier ever holds more than its limit.
//
// The one place that moves anything. Policies order (eviction_policy.hpp), pools count (chunk/tier_pool.hpp), the
// timeline foretells (timeline.hpp); torch is unknown here: tenants are told where their bytes are. Called by the
// interception before and after each operator, by the allocator inside an allocation, and by the update.
//
// Invariants
//   * Between calls, every pinned copy is current, and a tenant points at its bytes on the compute tier exactly while
//     they are there to stay: what is leaving cannot be written by pointer any more.
//   * On an accelerator, all this is so in the order of its compute stream: the host runs ahead of it, and waits only
//     for what it reads or writes itself. What moves, moves after its own last use, beside what runs since.
//   * Eviction destroys no tensor, runs no operator and allocates nothing through torch: it may run inside any
//     allocation.
//   * A request fails only when what is pinned, what cannot move, and the request together pass the limit, or where
//     memory is one piece, when no place is left beside what is pinned; then nothing has changed but what lies where.
//   * After a failed transfer the first error is kept (failure()), and the payload is where it was, unless its room on
//     the accelerator had been handed on already.
//
// Threading: thread-safe under one lock, held while waiting for a move; transfers complete without it. A late update is
// computed by the thread that needs it first, or waits for something else meanwhile; who needs another thread's waits.
// Units: bytes; moments; nanoseconds.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/node_pool.hpp"
#include "chunk/hierarchy.hpp"
#include "evict/activation_placement.hpp"
#include "evict/books.hpp"
#include "evict/edge.hpp"
#include "evict/eviction_policy.hpp"
#include "evict/pass_script.hpp"
#include "evict/recorded_step.hpp"
#include "evict/resident.hpp"
#include "evict/simulator.hpp"
#include "evict/step_clock.hpp"
#include "evict/step_recorder.hpp"
#include "evict/timeline.hpp"

namespace asterias::evict {

struct Want {
  Resident* resident;
  Access access;
  // The bytes that a writer fills before anybody reads them: of a blank resident all others are made zero.
  std::uint64_t filled_at = 0;
  std::uint64_t num_filled = 0;
};

// What moved since the counters were reset.
struct ResidencyStats {
  std::array<std::uint64_t, kNumEdges> moved_bytes{};  // by Edge, counted when a move starts
  std::array<std::uint64_t, kNumEdges> stall_ns{};     // by Edge: waiting for the end of a move over it
  std::uint64_t evictions_clean = 0;
  std::uint64_t evictions_dirty = 0;
  std::uint64_t fetches = 0;
  std::uint64_t prefetch_hits = 0;
  std::uint64_t most_shadow_bytes = 0;  // at once, wherever they lay

  std::uint64_t moved(Edge edge) const { return moved_bytes[static_cast<std::size_t>(edge)]; }
  std::uint64_t stalled(Edge edge) const { return stall_ns[static_cast<std::size_t>(edge)]; }
};

// The update of a chunk that step() has left for later, with what it uses: see Residency::put_off.
class LateUpdate {
 public:
  LateUpdate() = default;
  LateUpdate(const LateUpdate&) = delete;
  LateUpdate& operator=(const LateUpdate&) = delete;

  // One of them holds the chunk's parameters.
  virtual std::span<const Want> lists() const = 0;
  // Computes it. The lists are pinned on the cpu tier.
  virtual void compute() noexcept = 0;

 protected:
  ~LateUpdate() = default;
};

// How long the ways between tiers were busy, in nanoseconds.
struct BusyTimes {
  std::uint64_t h2d_ns = 0;
  std::uint64_t d2h_ns = 0;
  std::uint64_t drive_ns = 0;
};

// The most that was needed at once on each tier since the start: what an exact refusal names.
struct Needs {
  std::array<std::uint64_t, 2> working_set{};  // per memory tier: pinned, unmovable and asked for, in bytes
  std::array<std::string, 2> working_set_at;   // what ran then
  std::uint64_t content = 0;                   // of all residents (see count_blank), plus what cannot move
  std::uint64_t updated_content = 0;  // of the chunks that the update leaves below the compute tier: all but gradients
  std::uint64_t largest_resident = 0;
};

class Residency {
 public:
  using Clock = std::chrono::steady_clock;

  // `look_ahead` counts the residents that are fetched before they are used, where the timeline foretells them; 0: all
  // on demand.
  Residency(chunk::Hierarchy hierarchy, std::shared_ptr<const EvictionPolicy> policy, int look_ahead = 0,
            ActivationPlacement activations = ActivationPlacement::kAuto);
  Residency(const Residency&) = delete;
  Residency& operator=(const Residency&) = delete;
  ~Residency();

  // ---- residents
  // Makes a chunk of `bytes` (a multiple of the page size) without content or memory. The lists of one chunk are made
  // one after another, the parameters' first.
  Resident* make_chunk(chunk::ListKind list, std::uint64_t bytes, std::int64_t update_index);
  // Takes over a block (of whole pages) and what is in it as an activation whose only tenant is `tenant`, which points
  // at it already.
  Resident* adopt(chunk::Block block, Tenant* tenant);
  // The tables in a chunk's list are looked up and updated on the cpu tier; an activation is what has been added up of
  // a table's gradient.
  void mark_table(Resident* resident);
  // A final gradient has this activation for its memory, and counts as gradient from now on.
  void count_as_gradient(Resident* activation);
  void add_tenant(Resident* resident, Tenant* tenant);
  // Takes a tenant out; an activation, or a retired chunk, dies with its last one. Returns how many tenants are left.
  std::size_t remove_tenant(Resident* resident, Tenant* tenant);
  // Lets a chunk die as soon as it has no tenants.
  void retire(Resident* resident);
  // Lets go of what is kept, and keeps nothing from now on: for survivors of the last engine.
  void stop_keeping();
  // Forgets the content: no bytes are moved for it any more, and it reads as zeros. Pinned ones are left alone.
  void forget(Resident* resident);
  // Takes the payload out as a plain block on `tier`, its only copy, and ends the resident. For survivors of the last
  // engine. Empty when it does not fit. REQUIRES: unpinned.
  chunk::Block surrender(Resident* resident, Tier tier);

  // ---- pins
  // Pins all, then brings all to `tier`. Throws OutOfMemory or IoError with nothing pinned and no byte lost; StateError
  // for a write while the resident is pinned on another tier. Who names a resident twice fills it in neither. What an
  // accelerator is to do with the bytes is enqueued between the two calls: moves come after what was enqueued when the
  // last pin went, and after nothing else.
  void acquire(std::span<const Want> wants, Tier tier);
  void release(std::span<const Want> wants, Tier tier) noexcept;
  bool is_pinned(const Resident* resident) const;
  bool is_pinned(const Resident* resident, Tier tier) const;
  // The payload's address on a tier. REQUIRES: pinned there.
  std::byte* address(const Resident* resident, Tier tier) const { return resident->on(tier).block.data(); }
  // Starts bringing a resident to `tier`, one tier up at a time, if there is room or clean residents that are used
  // later can be dropped for it. Never throws for want of room.
  void prefetch(Resident* resident, Tier tier);
  // Starts writing a dirty, unpinned resident one tier down, so that it can leave for free later. Never throws.
  void write_behind(Resident* resident, Tier tier);

  // ---- shadows: what an update computes before it may show
  // Begins to bring lists from the drive for try_shadow, before all else that runs ahead. Until that succeeds, or
  // drop_shadows, or begin_update, they count as used next. False, without effect, where none lies on the drive alone:
  // what comes anyway is enough; or where one is blank.
  bool await_for_shadows(std::span<const Want> wants);
  // Gives each list that is wanted for writing a shadow without content, and pins all on the cpu tier: what is read or
  // rewritten, and the shadows. Else, without effect, says what would have to be waited for: something is not there or
  // is pinned, or keep_to_forecast does not let it; or there is no room that is free or used later anyway.
  enum class Shadowing : std::uint8_t { kDone, kNotThere, kNoRoom };
  Shadowing try_shadow(std::span<const Want> wants);
  // Unpins what try_shadow pinned. The shadows have their content now, and move as all residents do.
  void release_shadows(std::span<const Want> wants) noexcept;
  // Lets each list have its shadow's content for its own. False, without effect, where one has lost its shadow to
  // somebody who needed the room, or is pinned.
  bool take_shadows(std::span<const Want> wants);
  // Ends the shadows that are left.
  void drop_shadows(std::span<const Want> wants) noexcept;
  // How many residents are fetched before they are used.
  std::size_t look_ahead() const { return look_ahead_; }
  // Counts what may have changed the resident's content so far.
  std::uint64_t version(const Resident* resident) const;

  // ---- late updates: nobody sees that they have not been computed
  // Has the update computed before anybody gets one of its lists. Until then they count as used on the cpu tier when
  // the chunk's parameters are used next, and are brought there by then. A list that is forgotten is so afterwards; one
  // that will be overwritten has no content meanwhile. False, without effect, where nothing would have to be waited
  // for, a list is pinned, nothing is foretold of the parameters, or the tiers may not have the room.
  bool put_off(LateUpdate& update);
  // Computes it now, unless that has been done. Throws what acquire does: it is still put off then.
  void catch_up(LateUpdate& update);
  // As catch_up, but without effect where something would have to be waited for. Returns whether it computed.
  bool try_catch_up(LateUpdate& update);
  // Lets go of it: it is never computed.
  void give_up(LateUpdate& update) noexcept;

  // ---- room
  // Takes a block of unmovable memory for the caller, evicting as needed. Throws OutOfMemory.
  chunk::Block allocate(std::uint64_t bytes, Tier tier);
  // Evicts what is unpinned on the compute tier and has room below, within the limits.
  void evict_all();

  // Calls `visit` for every resident under the lock.
  void for_each(const std::function<void(const Resident&)>& visit) const;

  // ---- what is foretold and recorded. Each call takes the lock.
  void with_timeline(const std::function<void(Timeline&)>& use);
  // Begins the update of all chunks. `signature` names who updates: what repeats has the same one.
  void begin_update(std::uint64_t signature);
  // Passes a boundary of the update: the chunk at this place begins. Pins what it uses on `tier`, or, where that is the
  // compute tier and cannot hold all of it at once, on the cpu tier; returns where. Throws as acquire does.
  Tier begin_chunk(std::uint32_t place, std::span<const Want> wants, Tier tier);
  // The same boundary, for a chunk that has been updated ahead.
  void pass_chunk(std::uint32_t place, std::span<const Want> wants, Tier tier);
  // Releases what begin_chunk has pinned; gradients are spent.
  void end_chunk(std::span<const Want> wants, Tier tier) noexcept;
  // Says whether updates are put off, for what is foretold.
  void set_puts_off_updates(bool puts_off);
  // Says where the update of a chunk with this list runs from now on, for what is foretold.
  void set_update_tier(Resident* list, Tier tier);
  // Chooses that for the chunks with these param lists, from what was written down of the passes and measured so far
  // (update_placement.hpp). Nothing changes where nothing is written down.
  void place_updates(std::span<const Resident* const> params, const MoveRates& rates, bool costs_processor);
  // Says that the update with this signature is foretold to follow the present pass.
  bool is_update_next(std::uint64_t signature) const;
  // The gradients of this chunk are final, and its update may be computed ahead.
  void note_ready(const Resident* param);
  // An update was computed between two operators, which is no work of theirs.
  void note_update_in_pass(std::uint32_t place, std::uint64_t ns);
  void end_update();
  // The optimizer's step() has been called: what comes before its first chunk is its work, too.
  void begin_step_call();
  // Passes an operator boundary: `name` (static storage) is what OutOfMemory and Needs will name.
  void begin_operator(const char* name, std::uint64_t operator_hash);

  // ---- limits
  // While measuring, requests beyond a limit are granted if `may_exceed(bytes)` allows, and is_refused() says so.
  void set_measuring(bool measuring, std::function<bool(std::uint64_t)> may_exceed = nullptr);
  bool is_refused() const;
  // Begins to write down what is asked for, as long as requests are measured: when all engines' models are there.
  void start_script();
  // Foretells what a later step will hold and move from what was written down, with moves at the rates that are known;
  // the others take no time. The same answer until more has been written down, the drive's rate becomes known, or
  // keep_to_forecast foretells anew.
  Simulation forecast(const MoveRates& rates = {});
  // Foretells anew, from the times measured so far, and from now on has shadows take no more than the forecast has of
  // them, in passes that are like those written down: how many updates come ahead of step() is a matter of
  // milliseconds, what they take at most no longer is.
  void keep_to_forecast(const MoveRates& rates);
  // Foretells a later step with moves at `rates`, from the times measured so far. Nothing where nothing is written
  // down.
  std::optional<Simulation> simulate(const MoveRates& rates) const;
  // What was written down, to be played elsewhere: without rates.
  std::optional<RecordedStep> recorded_step() const;
  Needs needs() const;
  // Says whether all that ever lived at once fits the compute tier.
  bool all_fits() const;
  // Leaves blank residents out of Needs::content, or counts them again: while a model is built, what its constructor
  // made counts, and a chunk from when it is filled.
  void count_blank(bool count);
  // Throws OutOfMemory if `bytes` more, pinned at once, would not fit `tier` beside what is pinned and cannot move now.
  void require_room(Tier tier, std::uint64_t bytes, const char* what);
  // Notes that `bytes` on `tier` will be pinned at once some time, on top of what cannot move now.
  void note_future_need(Tier tier, std::uint64_t bytes, const char* what);

  ResidencyStats stats() const;
  // How long moves went over the edges since reset_stats, of those whose end somebody has looked for; several at once
  // count once. The drive's reads and writes are one.
  BusyTimes busy_times();
  // Starts the counters and the peaks anew.
  void reset_stats();
  // What lies on a tier by kind, and what lay there when it held most since reset_stats.
  ContentBytes content(Tier tier) const;
  ContentBytes peak_content(Tier tier);
  // The most activations that lay on a tier at once since reset_stats.
  std::uint64_t peak_activation_bytes(Tier tier) const;

  // ---- the trace of steps. What is recorded while no trace runs is dropped.
  // StateError if a trace runs, or none.
  void start_trace();
  StepTrace stop_trace();
  bool is_recording() const { return is_recording_.load(std::memory_order_relaxed); }
  // Gives what happens outside of Residency to the trace. `name` has static storage.
  void record_operator(const char* name, Clock::time_point start, Clock::time_point end);
  void record_phase(const char* name, Clock::time_point start, Clock::time_point end);
  void record_update(const Resident* chunk, Clock::time_point start, Clock::time_point end);
  void record_step_end(std::int64_t step);

  std::exception_ptr failure() const;
  const chunk::Hierarchy& hierarchy() const { return hierarchy_; }
  // Sums the resident bytes on a tier, for tests of the books.
  std::uint64_t resident_bytes(Tier tier) const;
  std::uint64_t pinned_bytes(Tier tier) const;
  // Counts what moves still read on a tier though nobody wants it any more.
  std::uint64_t lingering_bytes(Tier tier) const;
  std::size_t num_residents() const;

 private:
  using Lock = std::unique_lock<std::mutex>;
  enum class Ahead : std::uint8_t { kDone, kNotYet, kBlocked };

  Resident* add_resident(std::uint64_t bytes);
  enum class Traced : bool { kNo, kYes };
  void acquire_now(std::span<const Want> wants, Tier tier, Traced traced);
  void catch_up_with(std::span<const Want> wants);
  void set_late(LateUpdate& update, bool late);
  bool is_late(const LateUpdate& update) const;
  void catch_up_while_waiting_for(std::span<const Want> wants, Tier tier) noexcept;
  bool are_on_their_way(std::span<const Want> wants, Tier tier) const;
  void stop_being_late(LateUpdate& update);
  bool is_all_there(const LateUpdate& update) const;
  bool has_room_for_late(const LateUpdate& update) const;
  void forget_spent(const LateUpdate& update);
  std::optional<Use> first_use_of(const LateUpdate& update) const;
  std::optional<Use> use_of_late(const Resident& resident) const;
  Ahead fetch_for_late(const LateUpdate& update, Moment used_at, Tier tier, std::uint64_t& owed_bytes);
  bool can_be_shadowed(const Want& want) const;
  void stop_awaiting(Resident* list);
  bool add_shadow(Resident* list);
  void take_shadow(Resident* list);
  static void spend(const Want& want);
  bool drop_a_shadow(Tier tier);
  void destroy(Resident* resident);
  void drop_all(Resident* resident);
  void die_if_unneeded(Resident* resident);
  void keep(Resident* resident);

  void enter(Resident& resident, Tier tier);
  void leave(const Resident& resident, Tier tier);
  void refuse_two_places(const Want& want, Tier tier) const;
  void pin(Resident* resident, Tier tier);
  void unpin(Resident* resident, Tier tier) noexcept;
  void touch(const Want& want, Tier tier, Traced traced);

  void pin_all(std::span<const Want> wants, Tier tier, Traced traced = Traced::kYes);
  bool try_acquire(std::span<const Want> wants, Tier tier);
  bool can_pin(std::span<const Want> wants, Tier tier) const;
  void bring(std::span<const Want> wants, Tier tier);
  void start_bringing(std::span<const Want> wants, Tier tier);
  bool is_coming(const Want& want, Tier tier) const;
  bool wait_for_an_end(std::span<const Want> wants, Tier tier);
  void finish_bringing(std::span<const Want> wants, Tier tier);
  void let_go(std::span<const Want> wants, Tier tier);
  std::uint64_t room_of_operator() const;
  bool lacks_place_for_operator(Tier tier);
  void bring_around(std::uint64_t room_bytes, std::span<const Want> wants, Tier tier);
  void start_bring(const Want& want, Tier tier);
  void start_fetch(Resident* resident, Tier from, Tier to);
  void fill_blank(const Want& want, Tier tier);
  Tier source_of(const Resident* resident, Tier tier) const;
  void give_up_overwrite(Resident* resident, Tier tier);
  void stay(Resident* resident);
  void set_blank(Resident* resident, bool blank);
  void await(Resident* resident, Tier tier, Access access);
  void claim(Resident* resident, Tier tier, Access access);
  void invalidate_others(Resident* resident, Tier tier);

  using PageLocked = chunk::TierPool::Pinned;  // "pinned" says something else of residents
  static PageLocked page_locked_for(const Resident& resident) {
    return resident.crosses_link ? PageLocked::kFirst : PageLocked::kNever;
  }
  chunk::Block take_room(std::uint64_t bytes, Tier tier, chunk::TierPool::End end, PageLocked page_locked);
  chunk::Block take_for_operator(std::uint64_t bytes, Tier tier);
  chunk::Block take_room_for(const Resident& resident, Tier tier);
  bool make_some_room(std::uint64_t bytes, Tier tier);
  bool lacks_only_a_place(std::uint64_t bytes, Tier tier);
  bool clear_a_place(std::uint64_t bytes, Tier tier);
  using Ids = std::unordered_set<std::uint64_t>;
  using Costs = std::unordered_map<const std::byte*, std::uint64_t>;  // by where residents lie
  static void add_cost(Costs& costs, const Resident& resident, Tier tier, std::uint64_t rank);
  std::optional<chunk::TierPool::Place> cheapest_place(std::uint64_t bytes, Tier tier, const Costs& costs) const;
  std::optional<chunk::TierPool::Place> find_place(std::uint64_t bytes, Tier tier, const Ids& stuck);
  std::optional<std::uint64_t> clear(const chunk::TierPool::Place& place, Tier tier);
  Resident* find_resident(std::uint64_t id) const;
  std::uint64_t leaving_bytes(Tier tier) const;
  std::uint64_t start_departures(std::uint64_t shortfall, Tier tier);
  bool depart(Resident* resident, Tier tier);
  bool finish_one(Tier tier);
  void finish_done();
  bool follow(Resident* resident);
  void finish_followed(bool waits);
  void free_memory(Copy& copy);
  void vacate(Resident* resident);
  std::optional<chunk::Extents> take_extents(std::uint64_t bytes);
  std::optional<chunk::Extents> try_take_extents(std::uint64_t bytes);
  bool reclaim_extents();
  void collect_candidates(Tier tier, std::vector<Candidate>& candidates) const;
  bool is_redundant(const Resident* resident, Tier tier) const;
  bool may_exceed(std::uint64_t bytes, bool is_beyond_limit = true);
  [[noreturn]] void fail_for_want_of_room(Tier tier) const;

  void start_move_down(Resident* resident, Tier tier, bool leaves);
  void start_move(Resident* resident, Tier from, Tier to, bool leaves, chunk::MoveTicket ticket);
  chunk::MoveTicket start_transfer(Resident* resident, Tier from, Tier to);
  void finish_move(Resident* resident);
  void wait_for_reader(chunk::MoveTicket& reader, Tier tier);
  std::exception_ptr wait_for(Move& move);
  void count_stall(Edge edge, Clock::time_point start, Clock::time_point end);
  void note_busy(Edge edge, const chunk::MoveTicket& ticket);
  void become_current(Resident* resident, Tier tier);
  void drop(Resident* resident, Tier tier);
  void show(Resident* resident);
  void point_tenants(Resident* resident, std::byte* payload);

  // What cannot move and stays: what a move still reads goes by itself.
  std::uint64_t unmovable_bytes(Tier tier) const { return books_.unmovable_bytes(tier) - lingering_bytes_on(tier); }
  std::uint64_t lingering_bytes_on(Tier tier) const;
  void begin_operator_room(std::uint64_t operator_hash);
  void note_operator_room(std::uint64_t bytes, Tier tier);
  void leave_besides();
  void note_need(Tier tier, std::uint64_t extra_bytes);
  void note_content();
  bool is_scripting() const { return script_ && measuring_ && !timeline_.is_suspended(); }
  void script_unmovable();
  void time_operator(std::uint64_t operator_hash);
  StepClock::Now step_clock_now() const { return {hierarchy_.now(), stalled_ns_}; }
  SimulatedTiers look_at_tiers() const;

  const std::optional<Use>& next_use(Resident& resident) const;
  Moment next_use_on(Tier tier, Resident& resident) const;
  void let_go_of_used();
  void offload(Resident* resident, const Use& next);
  void await_departures(std::uint64_t most_leaving_bytes);
  void run_ahead();
  void fetch_awaited();
  std::uint64_t bytes_awaited() const;
  void fetch_ahead(Tier tier);
  Ahead fetch_for(const Use& use, Tier tier, std::uint64_t& owed_bytes);
  void owe_room(Resident& resident, Tier tier, std::uint64_t& owed_bytes) const;
  Ahead fetch_list(Resident& resident, const Use& use, Tier tier, std::uint64_t owed_bytes);
  bool is_here(const Resident& resident, Tier tier) const;
  bool is_above(const Resident& resident, Tier tier) const;
  bool comes_down_for(const Use& use, Resident& resident, Tier tier) const;
  std::size_t num_moments_arriving(Tier tier) const;
  void expect_again(Resident& resident, Tier tier);
  std::uint64_t room_besides(Tier tier, Moment used_at) const;
  void clean_ahead(Tier tier);
  std::uint64_t bytes_wanted(Tier tier) const;
  std::uint64_t next_bytes(Tier tier) const;
  bool is_about_to_die(const Candidate& candidate) const;
  bool try_prefetch(Resident* resident, Tier tier, Moment used_at, std::uint64_t owed_bytes = 0);
  bool drop_clean_for(std::uint64_t bytes, Tier tier, Moment used_at, std::uint64_t bytes_besides = 0);
  bool drop_clean_neighbours_for(std::uint64_t bytes, Tier tier, Moment used_at, std::uint64_t wanted);
  bool start_down(Resident* resident, Tier tier, bool leaves);
  void note_live();
  std::uint64_t working_set_bytes(Tier tier) const;
  void place_update(Resident& list, Tier tier);
  void make_forecast(const MoveRates& rates);
  bool may_shadow(std::uint64_t bytes) const;

  const chunk::Hierarchy hierarchy_;
  const std::shared_ptr<const EvictionPolicy> policy_;
  const std::size_t look_ahead_;
  ActivationPlacement activations_;
  bool puts_off_updates_ = false;

  std::recursive_mutex late_mutex_;  // held while a late update is computed; taken before mutex_
  std::vector<LateUpdate*> late_;    // under late_mutex_: those that are put off
  std::atomic<int> num_late_ = 0;    // those, and those that are being computed

  mutable std::mutex mutex_;
  Timeline timeline_;
  std::array<Timeline::Cursor, 2> ahead_;  // per memory tier: all before it has been fetched
  std::uint64_t scan_ = 0;                 // of what is ahead: how many so far
  std::uint64_t activation_bytes_ = 0;     // that live, wherever they lie
  std::vector<std::unique_ptr<Resident>> residents_;
  // The youngest of each name, for what is foretold.
  std::pmr::unordered_map<std::uint64_t, Resident*> by_key_{node_pool()};
  std::vector<Resident*> in_flight_;
  std::vector<Resident*> awaited_;  // lists, chunk by chunk
  // Moves whose end the accelerator's stream waits for, and what they read though nobody wants it any more.
  struct Followed {
    std::shared_ptr<chunk::MoveTicket> ticket;
    Edge edge;
    std::optional<std::uint64_t> record;
  };
  struct Lingering {
    chunk::Block block;
    std::shared_ptr<chunk::MoveTicket> reader;
  };
  std::vector<Followed> followed_;
  std::vector<Lingering> lingering_;
  std::array<std::vector<Candidate>, 2> candidates_;  // scratch, per memory tier
  Books books_;
  std::unique_ptr<StepRecorder> recorder_;  // while a trace runs
  std::atomic<bool> is_recording_{false};   // for those who would only read the clock
  std::uint64_t num_chunks_ = 0;
  std::array<std::uint64_t, kNumTiers> need_now_{};  // of the request being served
  std::uint64_t late_gradient_bytes_ = 0;
  std::uint64_t content_bytes_ = 0;
  std::uint64_t blank_bytes_ = 0;  // of these, without content
  std::uint64_t next_id_ = 1;
  std::uint64_t clock_ = 0;
  const char* operator_name_ = "start";
  // In one piece of memory: what an operator asks for while it runs, by its hash, has a place kept free before.
  struct OperatorRoom {
    std::uint64_t hash = 0;
    std::uint64_t unmovable_before = 0;
    std::uint64_t taken = 0, most = 0;  // in all, and at once
    bool is_placed = true;              // it has been seen to
  };
  OperatorRoom operator_room_;
  std::unordered_map<std::uint64_t, std::uint64_t> operator_rooms_;
  std::uint64_t largest_operator_room_ = 0;
  bool measuring_ = false;
  bool refused_ = false;
  bool counts_blank_ = true;
  std::function<bool(std::uint64_t)> may_exceed_;
  Needs needs_;
  std::unique_ptr<PassScript> script_;
  std::array<std::uint64_t, 2> scripted_unmovable_{};
  StepClock step_clock_;
  std::uint64_t stalled_ns_ = 0;  // since the start
  Simulation forecast_;
  std::size_t forecast_events_ = 0;  // what it was made of
  bool keeps_to_forecast_ = false;
  std::uint64_t shadow_bytes_ = 0;  // wherever they lie
  bool forecast_knows_drive_ = false;
  ResidencyStats stats_;
  std::array<std::vector<std::pair<Clock::time_point, Clock::time_point>>, 3> busy_spans_;  // H2D, D2H, the drive
  std::exception_ptr failure_;
};

}  // namespace asterias::evict
