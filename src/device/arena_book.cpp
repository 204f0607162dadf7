#include "device/arena_book.hpp"

#include <algorithm>
#include <deque>
#include <iterator>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::device {

ArenaBook::ArenaBook(std::uint64_t bytes) : bytes_(bytes / kGrain * kGrain) {
  if (bytes_ > 0) add_hole(0, bytes_);
}

void ArenaBook::add_hole(std::uint64_t offset, std::uint64_t bytes) {
  holes_.emplace(offset, bytes);
  by_size_.emplace(bytes, offset);
}

void ArenaBook::drop_hole(std::uint64_t offset, std::uint64_t bytes) {
  holes_.erase(offset);
  by_size_.erase({bytes, offset});
}

// REQUIRES: a hole that is large enough. Holes of one size stand in the order of their offsets.
std::pair<std::uint64_t, std::uint64_t> ArenaBook::choose_hole(std::uint64_t bytes, End end) const {
  const auto smallest = by_size_.lower_bound({bytes, 0});
  if (end == End::kLow) return {smallest->second, smallest->first};
  const auto highest = std::prev(by_size_.upper_bound({smallest->first, UINT64_MAX}));
  return {highest->second, highest->first};
}

std::optional<std::uint64_t> ArenaBook::take(std::uint64_t bytes, End end) {
  if (bytes == 0) throw StateError(StateError::Cause::kBug, "an arena was asked for nothing");
  if (bytes > largest_hole()) return std::nullopt;
  const std::uint64_t size = round_up(bytes, kGrain);
  const auto [hole, hole_bytes] = choose_hole(size, end);
  drop_hole(hole, hole_bytes);
  const std::uint64_t rest = hole_bytes - size;
  const std::uint64_t offset = end == End::kLow ? hole : hole + rest;
  if (rest > 0) add_hole(end == End::kLow ? hole + size : hole, rest);
  takes_.emplace(offset, size);
  taken_bytes_ += size;
  return offset;
}

void ArenaBook::give_back(std::uint64_t offset) {
  const auto take = takes_.find(offset);
  if (take == takes_.end())
    throw StateError(StateError::Cause::kBug, "an arena was given back what it did not give out");
  std::uint64_t begin = offset, end = offset + take->second;
  taken_bytes_ -= take->second;
  takes_.erase(take);
  if (const auto after = holes_.find(end); after != holes_.end()) {
    end += after->second;
    drop_hole(after->first, after->second);
  }
  const auto next = holes_.lower_bound(begin);
  if (next != holes_.begin()) {
    const auto before = *std::prev(next);
    if (before.first + before.second == begin) {
      begin = before.first;
      drop_hole(before.first, before.second);
    }
  }
  add_hole(begin, end - begin);
}

std::uint64_t ArenaBook::bytes_at(std::uint64_t offset) const {
  const auto take = takes_.find(offset);
  return take == takes_.end() ? 0 : take->second;
}

// Slides a window over takes and holes in the order of their offsets: it grows until it is large enough, and sheds from
// its front what it does not need.
std::optional<ArenaBook::Window> ArenaBook::window(std::uint64_t bytes, const Cost& cost) const {
  struct Piece {
    std::uint64_t bytes, cost;
  };
  const std::uint64_t need = round_up(std::max<std::uint64_t>(bytes, 1), kGrain);
  std::optional<Window> best;
  std::deque<Piece> pieces;
  Window now{0, 0, 0};
  const auto shed_front = [&] {
    now.offset += pieces.front().bytes;
    now.bytes -= pieces.front().bytes;
    now.cost -= pieces.front().cost;
    pieces.pop_front();
  };
  auto take = takes_.begin();
  auto hole = holes_.begin();
  for (std::uint64_t at = 0; at < bytes_;) {
    const bool is_take = take != takes_.end() && take->first == at;
    const std::uint64_t size = is_take ? take->second : hole->second;
    const std::optional<std::uint64_t> price = is_take ? cost(at, size) : 0;
    is_take ? static_cast<void>(++take) : static_cast<void>(++hole);
    at += size;
    if (!price) {
      pieces.clear();
      now = {at, 0, 0};
      continue;
    }
    pieces.push_back({size, *price});
    now.bytes += size;
    now.cost += *price;
    while (now.bytes - pieces.front().bytes >= need) shed_front();
    if (now.bytes >= need && (!best || now.cost < best->cost)) best = now;
  }
  return best;
}

}  // namespace asterias::device
