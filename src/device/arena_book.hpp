// Which parts of one contiguous piece of memory are taken: the books of an accelerator's memory and of pinned host
// memory.
//
// Offsets and sizes only; it never touches the memory. Sizes are exact to kGrain. What stays (chunk slots) is taken
// from the low end and what passes (activations, workspaces) from the high end, so that they do not cut up each other's
// room. In one piece of memory room may be enough and yet not in one place: then window() says whom to move, which
// residents can be and pages cannot.
//
// Invariants
//   * Takes never overlap; their sum and the sum of the holes are bytes().
//   * Two holes never touch: what is given back joins its neighbours.
//   * Same history, same answers: a run that is repeated places everything alike.
//
// Threading: thread-compatible. Units: bytes. take and give_back cost O(log n), window() O(n).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace asterias::device {

class ArenaBook {
 public:
  // Tensors start at multiples of 512 bytes: kernels may choose other code for other alignments.
  static constexpr std::uint64_t kGrain = 512;

  enum class End { kLow, kHigh };

  struct Window {
    std::uint64_t offset, bytes;
    std::uint64_t cost;
  };

  // `bytes` is rounded down to the grain.
  explicit ArenaBook(std::uint64_t bytes);

  // Takes `bytes` (> 0, rounded up to the grain) at that end of the smallest hole that holds them, among equals of the
  // hole nearest to that end. Empty when no hole does.
  std::optional<std::uint64_t> take(std::uint64_t bytes, End end);

  // Gives back what take() returned. Throws StateError (kBug) for any other offset.
  void give_back(std::uint64_t offset);

  // Finds the run of neighbouring takes and holes that holds `bytes` and is cheapest to clear: the sum of
  // cost(offset, bytes) over its takes, where an empty answer means that a take cannot be moved. Among equals the
  // lowest. Empty when there is none.
  using Cost = std::function<std::optional<std::uint64_t>(std::uint64_t offset, std::uint64_t bytes)>;
  std::optional<Window> window(std::uint64_t bytes, const Cost& cost) const;

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t taken_bytes() const { return taken_bytes_; }
  std::uint64_t largest_hole() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }
  std::uint64_t bytes_at(std::uint64_t offset) const;  // of the take there; 0: none starts there

 private:
  void add_hole(std::uint64_t offset, std::uint64_t bytes);
  void drop_hole(std::uint64_t offset, std::uint64_t bytes);
  std::pair<std::uint64_t, std::uint64_t> choose_hole(std::uint64_t bytes, End end) const;

  std::uint64_t bytes_;
  std::uint64_t taken_bytes_ = 0;
  std::map<std::uint64_t, std::uint64_t> takes_, holes_;       // bytes by offset
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_size_;  // holes: bytes, offset
};

}  // namespace asterias::device
