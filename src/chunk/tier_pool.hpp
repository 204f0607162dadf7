// The bytes of one memory tier: who has how many, and never more than the limit.
//
// Not a policy: when a request does not fit it says so and evict::Residency makes room.
//
// Host memory is no address space to be divided: large blocks are whole pages of their own mapping
// (device/page_block.hpp), so there is no fragmentation and the limit can be met exactly. An accelerator's memory is
// one piece (device/ordered_arena.hpp): there room may be enough and yet not in one place, and cheapest_place() says
// who would have to leave for one. Blocks below kPageBytes cannot be told to leave: so that they lie in nobody's way,
// they have the high end of the piece to themselves as long as that has room.
//
// Invariants
//   * used_bytes() is the sum of all living Reservations of this pool, those inside Blocks included.
//   * used_bytes() + cached_bytes() <= limit_bytes(), except through take_beyond_limit and shrinking limits.
//   * A pinned block (page-locked for an accelerator's copies, chunk/pinned_pages.hpp) is given only to who asks for
//     such, and is unpinned before its pages are anybody else's.
//   * Blocks of kPageBytes and more start at page boundaries (direct I/O); smaller ones at 64 bytes. In one piece all
//     start at ArenaBook::kGrain.
//   * A range of an accelerator's memory is free as soon as its block is, though streams may still work on it: the next
//     block there knows the points behind that work, and every stream that works on it comes after them.
//
// Threading: thread-safe (one leaf mutex, held while memory is pinned). Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/tier.hpp"
#include "chunk/page_cache.hpp"
#include "chunk/pinned_pages.hpp"
#include "device/accelerator.hpp"
#include "device/ordered_arena.hpp"
#include "device/page_block.hpp"

namespace asterias::chunk {

class TierPool;

// Bytes of a tier owned by somebody. Gives them back when it dies. Move-only.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

  std::uint64_t bytes() const { return bytes_; }
  TierPool* pool() const { return pool_.get(); }

 private:
  friend class TierPool;
  friend class Block;
  Reservation(std::shared_ptr<TierPool> pool, std::uint64_t bytes) : pool_(std::move(pool)), bytes_(bytes) {}
  void give_back() noexcept;
  std::shared_ptr<TierPool> release() noexcept;  // the caller gives the bytes back

  std::shared_ptr<TierPool> pool_;
  std::uint64_t bytes_ = 0;
};

// Memory of a tier together with its reservation. Returns to the pool when it dies. Move-only. Of a hollow pool: data()
// is not null, and nothing may be read or written there.
class Block {
 public:
  Block() = default;
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();

  std::byte* data() const { return data_; }
  // Counts what the block costs its tier: the size asked for, rounded up.
  std::uint64_t bytes() const { return reservation_.bytes(); }
  TierPool* pool() const { return reservation_.pool(); }
  explicit operator bool() const { return data_ != nullptr; }
  // Makes all its bytes zero but the `num_kept` from `kept_at` on; by the compute stream, which begins to use it, where
  // it is an accelerator's. REQUIRES: these lie within the block.
  void clear(std::uint64_t kept_at = 0, std::uint64_t num_kept = 0);
  // Pins its pages for an accelerator's copies, if they are not yet and its pool does that (TierPool::pin_with).
  void pin();

  // ---- of an accelerator's memory: the order in which streams work on it. All but end_use throw CudaError.
  // Lets the compute stream use it, after those who had the memory before. Without effect elsewhere, or twice.
  void begin_use();
  // Says that these uses end with `end`, a point of the compute stream; null: have ended. As long as nobody has said so
  // they end with all that has been enqueued there.
  void end_use(device::SharedPoint end) noexcept;
  // Copy over a link: into this block, which nobody has used yet, after those who had the memory before, or out of it
  // after its last use. The compute stream comes after a copy into it where it is told to (start_after).
  device::Ticket copy_from(const std::byte* source, std::uint64_t bytes, device::LinkQueue& link);
  device::Ticket copy_to(std::byte* target, std::uint64_t bytes, device::LinkQueue& link);

  // True where it was taken although its tier had no place for it.
  bool is_besides() const { return besides_ != nullptr; }

 private:
  friend class TierPool;
  struct Order {
    std::vector<device::SharedPoint> after;  // points of those who had the memory before, until somebody waits for them
    device::SharedPoint copied;              // the end of the last copy, which comes after all before it
    device::SharedPoint computed;            // the end of the compute stream's last use
    bool is_in_use = true;                   // which has not been said to have ended
  };
  void give_back() noexcept;

  Reservation reservation_;
  device::PageBlock pages_;  // large blocks of host memory
  bool is_pinned_ = false;
  std::byte* data_ = nullptr;
  Order order_;
  std::shared_ptr<std::byte> besides_;
};

class TierPool : public std::enable_shared_from_this<TierPool> {
 public:
  static constexpr std::uint64_t kUnlimited = UINT64_MAX;
  using End = device::ArenaBook::End;
  // What a request says to free blocks that are pinned. Never: whoever copies from and to memory by himself, as torch
  // does, may give it back while a copy from pinned memory has not ended.
  enum class Pinned { kNever, kFirst };

  // `measure_foreign`, if given, says how many bytes of the tier are used by what is no block (libraries, heap); it is
  // asked before new pages are mapped, and the largest answer stays reserved, with `slack_bytes` for what they grow by
  // in between.
  static std::shared_ptr<TierPool> create(Tier tier, std::uint64_t limit_bytes,
                                          std::function<std::uint64_t()> measure_foreign = nullptr,
                                          std::uint64_t slack_bytes = 0);
  // A pool that only counts: its blocks have no memory.
  static std::shared_ptr<TierPool> create_hollow(Tier tier, std::uint64_t limit_bytes);
  // A pool over an accelerator's memory, or as many of its pages as the limit says, of which `small_bytes` (whole
  // pages) are for small blocks alone. What the accelerator keeps for libraries counts as foreign, on top.
  static std::shared_ptr<TierPool> create_in_one_piece(Tier tier, std::uint64_t limit_bytes,
                                                       std::shared_ptr<device::Accelerator> accelerator,
                                                       std::uint64_t small_bytes = 0);
  // The share of a piece that a training should have for small blocks.
  static std::uint64_t small_share(std::uint64_t piece_bytes);
  ~TierPool();

  // Takes a block of at least `bytes` (> 0), first from the cache of freed blocks, then from the system after giving
  // cached blocks back as far as the limit demands; of an accelerator's memory, from that end. Empty when it does not
  // fit, or has no place. Throws CudaError when the accelerator is lost.
  std::optional<Block> try_take(std::uint64_t bytes, End end = End::kHigh, Pinned pinned = Pinned::kNever);

  // Takes a block although the limit is passed, or has no place: for the pass that measures what would be enough
  // (docs/design.md, "Refusal"). An empty one when an accelerator has no more memory.
  Block take_beyond_limit(std::uint64_t bytes);

  // Reserves bytes without memory behind them.
  std::optional<Reservation> try_reserve(std::uint64_t bytes);

  // Returns how many bytes must be freed before `bytes` more would fit; 0 when they fit now.
  std::uint64_t shortfall(std::uint64_t bytes) const;

  // Lets blocks of host memory be pinned by `pinner`, up to `limit_bytes` of them in all. REQUIRES: called at most
  // once, before blocks are taken.
  void pin_with(std::shared_ptr<device::HostPinner> pinner, std::uint64_t limit_bytes = kUnlimited);

  // ---- memory in one piece
  bool is_one_piece() const { return accelerator_ != nullptr; }
  const std::shared_ptr<device::Accelerator>& accelerator() const { return accelerator_; }
  // Counts what there is for blocks of kPageBytes and more.
  std::uint64_t bytes_for_large() const { return arena_ ? arena_->book().bytes() : limit_bytes_; }

  // Says whether a block of `bytes` has a place now, whatever the limit.
  bool has_place(std::uint64_t bytes) const;

  // Finds what would have to be given back for `bytes` to have a place: neighbours in memory, of which `cost`, empty
  // for who must stay, is least in sum. Empty when there are none.
  struct Place {
    const std::byte* begin;
    const std::byte* end;
    bool holds(const std::byte* data) const { return begin <= data && data < end; }
  };
  using Cost = std::function<std::optional<std::uint64_t>(const std::byte* data)>;
  std::optional<Place> cheapest_place(std::uint64_t bytes, const Cost& cost) const;

  // Measures the foreign bytes now; cached blocks give way to what they have grown by. Called once per step, and by the
  // pool itself before it maps pages.
  void refresh_foreign();

  // Gives all cached blocks back to the system.
  void trim();

  // Trims, and from now on gives every freed block back at once: blocks may outlive the runtime that the cache was for.
  void stop_caching();

  void set_poison(bool poison) { poison_ = poison; }

  Tier tier() const { return tier_; }
  std::uint64_t limit_bytes() const { return limit_bytes_; }
  std::uint64_t used_bytes() const;       // reservations, foreign bytes excluded
  std::uint64_t foreign_bytes() const;    // what is reserved for others: the most that was measured, and the slack
  std::uint64_t cached_bytes() const;     // pinned ones included
  std::uint64_t pinned_bytes() const;     // of used and cached ones
  std::uint64_t peak_used_bytes() const;  // since reset_peak
  std::uint64_t library_bytes() const;    // foreign bytes without the slack
  // What the tier really holds for all, slack excluded: now, and the most since reset_peak.
  std::uint64_t held_bytes() const;
  std::uint64_t peak_held_bytes() const;
  void reset_peak();

  // Rounds a request up to what it will cost.
  static std::uint64_t charge(std::uint64_t bytes);

 private:
  friend class Reservation;
  friend class Block;
  using Lock = std::unique_lock<std::mutex>;

  TierPool(Tier tier, std::uint64_t limit_bytes, std::function<std::uint64_t()> measure_foreign,
           std::uint64_t slack_bytes);
  Block make_block(std::uint64_t charged);
  std::optional<Block> try_take_in_piece(std::uint64_t charged, End end);
  void give_back_in_piece(std::byte* data, std::uint64_t charged, const Block::Order& order) noexcept;
  void poison_in_piece(std::byte* data, std::uint64_t charged, const Block::Order& order);
  device::OrderedArena& arena_of(const std::byte* data);
  bool fits(std::uint64_t charged) const;
  bool is_at_hand(std::uint64_t charged, Pinned pinned) const;
  std::optional<Block> take_cached(std::uint64_t charged, Pinned pinned);
  Block block_of(device::PageBlock pages, bool is_pinned);
  bool pin(const device::PageBlock& pages);
  std::uint64_t cached() const { return cache_.bytes() + (pinned_ ? pinned_->idle_bytes() : 0); }
  std::uint64_t excess(std::uint64_t charged) const;
  void unpin_idle(std::uint64_t bytes);
  void release_cache(std::uint64_t charged);
  void count_used(std::uint64_t charged);
  void note_peaks();
  void give_bytes(std::uint64_t charged) noexcept;
  void give_pages(device::PageBlock pages, bool is_pinned) noexcept;

  const Tier tier_;
  const std::uint64_t limit_bytes_;
  const std::function<std::uint64_t()> measure_foreign_;
  const std::uint64_t slack_bytes_;
  bool poison_ = false;
  bool is_hollow_ = false;
  std::shared_ptr<device::Accelerator> accelerator_;  // of memory in one piece

  mutable std::mutex mutex_;
  bool caches_ = true;
  std::uint64_t used_bytes_ = 0;
  std::uint64_t foreign_bytes_ = 0;
  std::uint64_t peak_used_bytes_ = 0;
  std::uint64_t peak_held_bytes_ = 0;
  PageCache cache_;
  std::optional<PinnedPages> pinned_;
  std::optional<device::OrderedArena> arena_, small_arena_;  // over the accelerator's memory, and over its high end
};

}  // namespace asterias::chunk
