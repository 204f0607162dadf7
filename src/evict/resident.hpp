// Anything the runtime moves: a chunk's payload, or the storage of an activation. A record, owned and changed by
// Residency alone.
//
// Threading: Residency's lock covers every member.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/node_pool.hpp"
#include "base/tier.hpp"
#include "chunk/copy_state.hpp"
#include "chunk/hierarchy.hpp"
#include "chunk/list_kind.hpp"
#include "evict/content_kind.hpp"
#include "evict/timeline.hpp"

namespace asterias::evict {

constexpr int index_of(Tier tier) { return static_cast<int>(tier); }

class LateUpdate;  // residency.hpp

// Somebody whose pointers follow a resident's bytes on the compute tier.
class Tenant {
 public:
  Tenant() = default;
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  // Points at the payload's first byte, or nowhere (null: absent). Called under Residency's lock: must not call back,
  // block, allocate through torch or destroy a tensor.
  virtual void follow(std::byte* payload) noexcept = 0;

 protected:
  ~Tenant() = default;  // Residency never owns a tenant
};

// The payload's bytes on one tier.
struct Copy {
  chunk::CopyState state = chunk::CopyState::kAbsent;
  chunk::Block block;      // memory tiers
  chunk::Extents extents;  // nvme
  int pins = 0;
  std::uint64_t arrival = 0;  // counted as uses are
  // The move that still reads these bytes, though where it goes they are current: the accelerator's stream knows when
  // they will have arrived.
  std::shared_ptr<chunk::MoveTicket> reader;

  bool is_readable() const { return state == chunk::CopyState::kCurrent || state == chunk::CopyState::kLeaving; }
};

// The one move a resident may have in flight.
struct Move {
  Tier from;
  Tier to;
  bool leaves;  // the source is dropped when the move has ended
  chunk::MoveTicket ticket;
  std::optional<std::uint64_t> record;  // the step recorder's, while a trace runs
  bool gone = false;  // the source has been dropped already: who uses its room comes after the move by order
};

struct Resident : Pooled {
  std::uint64_t id = 0;
  std::uint64_t bytes = 0;  // of the payload, rounded up to whole pages
  // For people: a chunk's number, which its lists share, or the activation's own, and the operator that ran when it was
  // adopted (static storage).
  std::uint64_t number = 0;
  const char* made_by = "";
  std::uint32_t index = 0;  // in Residency's table
  bool is_chunk = false;
  bool blank = false;         // no content worth moving: zeros when read
  bool spent = false;         // a gradient that an update has used, and nothing has written since
  bool ahead = false;         // fetched ahead and not used since
  Moment ahead_for = 0;       // when it was to be used
  bool awaited = false;       // on the cpu tier, by an update ahead of step(): see Residency::await_for_shadows
  bool crosses_link = false;  // has lain on the gpu tier: its blocks on the cpu tier are copied from and to there
  bool kept = false;          // holds a pin of its own on the compute tier for as long as it lives
  bool dying = false;         // goes when the last pin does
  bool is_gradient = false;   // no chunk, but a final gradient that stays where it was made: counts as one
  bool is_table = false;      // a list of embedding tables, or what their gradient is added up from: see mark_table
  bool retired = false;       // a chunk whose engine is gone: goes with its last tenant
  chunk::ListKind list = chunk::ListKind::kParam;
  std::int64_t update_index = -1;  // a chunk's place in the update
  Tier update_tier = Tier::kCpu;   // where that runs
  // What an update has computed ahead of step() lies in a shadow, a resident of its own that nobody else knows.
  Resident* shadow = nullptr;     // of this one
  Resident* shadow_of = nullptr;  // this is a shadow
  LateUpdate* late = nullptr;     // will change it, or read it, before anybody else uses it
  bool forgets_late = false;      // is forgotten when that has been done
  std::uint64_t scanned_in = 0;   // which of Residency's scans has counted it
  std::uint64_t version = 0;      // counts what may have changed the content
  TraceKey key;
  // Timeline::next_use as last asked for, and the timeline's epoch then.
  std::optional<Use> foretold;
  std::uint64_t foretold_in = UINT64_MAX;
  std::uint64_t last_use = 0;
  std::array<Copy, kNumTiers> copies;
  std::optional<Move> move;
  std::pmr::vector<Tenant*> tenants{node_pool()};

  // Says whether its bytes are old ones that an update is late to change.
  bool is_hidden() const { return late && list != chunk::ListKind::kGrad; }
  // Says whether a pass made it: what placement.activations is about.
  bool is_of_pass() const { return !is_chunk && key.is_named(); }
  ContentKind kind() const { return is_chunk ? content_kind_of(list) : ContentKind::kActivation; }
  ContentKind kind_in_books() const { return is_gradient ? ContentKind::kGrad : kind(); }
  Copy& on(Tier tier) { return copies[static_cast<int>(tier)]; }
  const Copy& on(Tier tier) const { return copies[static_cast<int>(tier)]; }
  // Says whether the bytes are on `tier` and not on their way out.
  bool is_there_to_stay(Tier tier) const {
    const bool leaves = move && move->from == tier && move->leaves;
    return on(tier).is_readable() && !leaves;
  }
  bool is_pinned() const {
    for (const auto& copy : copies)
      if (copy.pins > 0) return true;
    return false;
  }
};

}  // namespace asterias::evict
