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

std::optional<OrderedArena::Range> OrderedArena::take(std::uint64_t bytes, ArenaBook::End end) {
  const std::optional<std::uint64_t> offset = book_.take(bytes, end);
  if (!offset) return std::nullopt;
  const std::uint64_t taken = book_.bytes_at(*offset);
  return Range{memory_ + *offset, taken, points_within(*offset, *offset + taken)};
}

std::vector<SharedPoint> OrderedArena::after(const std::byte* data) {
  const auto offset = static_cast<std::uint64_t>(data - memory_);
  return points_within(offset, offset + book_.bytes_at(offset));
}

// What was given back is not taken from pending_ when it is handed out: its point may not have been reached when the
// new owner gives it back, too. So all that overlap are asked, and there are no more than have not been reached.
std::vector<SharedPoint> OrderedArena::points_within(std::uint64_t begin, std::uint64_t end) {
  std::vector<SharedPoint> points;
  for (auto entry = pending_.begin(); entry != pending_.end() && entry->first < end;) {
    const bool overlaps = entry->second.end > begin;
    if (overlaps && is_reached(*entry->second.point)) {
      entry = pending_.erase(entry);
      continue;
    }
    const auto& point = entry->second.point;
    if (overlaps && std::find(points.begin(), points.end(), point) == points.end()) points.push_back(point);
    ++entry;
  }
  return points;
}

void OrderedArena::give_back(std::byte* data, std::initializer_list<SharedPoint> last_uses) {
  const auto offset = static_cast<std::uint64_t>(data - memory_);
  const std::uint64_t bytes = book_.bytes_at(offset);
  book_.give_back(offset);
  if (pending_.size() >= drop_at_) drop_reached();
  for (const SharedPoint& point : last_uses)
    if (point) pending_.emplace(offset, Pending{offset + bytes, point});
}

// Asks all of them each time their number has doubled, so each point is asked a few times in its life.
void OrderedArena::drop_reached() {
  std::erase_if(pending_, [](const auto& entry) { return is_reached(*entry.second.point); });
  drop_at_ = std::max<std::size_t>(64, 2 * pending_.size());
}

}  // namespace asterias::device
