// An accelerator's memory in ranges, each handed out with the points that its new owner's first work must come after.
//
// A range is free for the books as soon as its owner gives it back, though kernels or copies that were enqueued before
// may still use it: what they wait for is remembered with the bytes, so events decide when a range is used anew and the
// host waits for nothing. Where in memory a range lies is ArenaBook's.
//
// Invariants
//   * The points of a range are those that were given back with any byte of it and have not been reached since.
//   * A point is let go of as soon as it is found reached.
//
// Threading: thread-compatible. Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <vector>

#include "device/arena_book.hpp"
#include "device/stream_point.hpp"

namespace asterias::device {

class OrderedArena {
 public:
  struct Range {
    std::byte* data;
    std::uint64_t bytes;  // as asked for, rounded up to ArenaBook::kGrain
    std::vector<SharedPoint> after;
  };

  OrderedArena(std::byte* memory, std::uint64_t bytes) : memory_(memory), book_(bytes) {}

  // As ArenaBook::take. The stream that uses the range first waits for all of `after`.
  std::optional<Range> take(std::uint64_t bytes, ArenaBook::End end);

  // Finds what take() would say now of the range that it returned at `data`.
  std::vector<SharedPoint> after(const std::byte* data);

  // Gives back what take() returned at `data`. `last_uses`: points behind all work on it since; null ones have been
  // reached. Throws StateError (kBug) for any other address.
  void give_back(std::byte* data, std::initializer_list<SharedPoint> last_uses);

  const ArenaBook& book() const { return book_; }
  std::size_t num_pending() const { return pending_.size(); }  // parts of memory with a point

 private:
  struct Pending {
    std::uint64_t end;
    SharedPoint point;
  };

  std::vector<SharedPoint> points_within(std::uint64_t begin, std::uint64_t end);
  void drop_reached();

  std::byte* const memory_;
  ArenaBook book_;
  std::multimap<std::uint64_t, Pending>
      pending_;  // by offset; ranges of one offset or overlapping ones may differ in age
  std::size_t drop_at_ = 64;
};

}  // namespace asterias::device
