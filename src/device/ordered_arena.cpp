#include "device/ordered_arena.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"

namespace asterias::device {
namespace {

// A lost device says so to whoever waits for the point.
bool is_reached(const StreamPoint& point) noexcept {
  try {
    return point.reached();
  } catch (const CudaError&) {
    return false;
  }
}

}  // namespace

// What was given back is not taken from pending_ when it is handed out: its point may not have been reached when the
// new owner gives it back, too. So all that overlap are asked, and there are no more than have not been reached.
std::optional<OrderedArena::Range> OrderedArena::take(std::uint64_t bytes, ArenaBook::End end) {
  const std::optional<std::uint64_t> offset = book_.take(bytes, end);
  if (!offset) return std::nullopt;
  Range range{memory_ + *offset, book_.bytes_at(*offset), {}};
  const std::uint64_t range_end = *offset + range.bytes;
  for (auto entry = pending_.begin(); entry != pending_.end() && entry->first < range_end;) {
    const bool overlaps = entry->second.end > *offset;
    if (overlaps && is_reached(*entry->second.point)) {
      entry = pending_.erase(entry);
      continue;
    }
    const auto& point = entry->second.point;
    if (overlaps && std::find(range.after.begin(), range.after.end(), point) == range.after.end())
      range.after.push_back(point);
    ++entry;
  }
  return range;
}

void OrderedArena::give_back(std::byte* data, SharedPoint last_use) {
  const auto offset = static_cast<std::uint64_t>(data - memory_);
  const std::uint64_t bytes = book_.bytes_at(offset);
  book_.give_back(offset);
  if (!last_use) return;
  if (pending_.size() >= drop_at_) drop_reached();
  pending_.emplace(offset, Pending{offset + bytes, std::move(last_use)});
}

// Asks all of them each time their number has doubled, so each point is asked a few times in its life.
void OrderedArena::drop_reached() {
  std::erase_if(pending_, [](const auto& entry) { return is_reached(*entry.second.point); });
  drop_at_ = std::max<std::size_t>(64, 2 * pending_.size());
}

}  // namespace asterias::device
