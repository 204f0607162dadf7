// What the passes before the first update asked of Residency, in order, wherever things lay, and how long their work
// took: what the simulator plays.
//
// Unlike a Trace (timeline.hpp) it knows sizes, writes, births and deaths. Kept once per run: it grows while the
// runtime measures, and ends with the first update; only the times go on changing (step_clock.hpp).
//
// Threading: thread-compatible; Residency's lock covers it. Units: bytes, nanoseconds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/tier.hpp"
#include "evict/content_kind.hpp"
#include "evict/resident.hpp"

namespace asterias::evict {

struct PassScript {
  // A program that evaluates for hours before its first update is not worth the memory: beyond it nothing is added.
  static constexpr std::size_t kMaxEvents = std::size_t{1} << 22;

  struct Actor {
    std::uint64_t id;
    ContentKind kind;
    std::uint64_t bytes;
    std::uint64_t chunk;                  // number; for activations without meaning
    std::int64_t update_index = -1;       // of a chunk
    bool blank = false;                   // when the script began
    bool held = false;                    // pinned for good: buffers, and activations that are kept
    bool is_of_pass = false;              // as Resident::is_of_pass
    std::array<bool, kNumTiers> there{};  // when the script began; nowhere: born later
    Tier update_tier = Tier::kCpu;        // where the chunk is updated
  };

  enum class What : std::uint8_t {
    kOperator,
    kRead,
    kWrite,
    kBirth,
    kDeath,
    kForget,
    kUnmovable,
    kBeginPass,
    kEndPass,
    kReady  // all gradients of the chunk that `actor` is the param list of are final
  };

  struct Event {
    What what;
    Tier tier = Tier::kGpu;   // of kRead, kWrite, kBirth, kUnmovable
    std::uint32_t actor = 0;  // of kRead, kWrite, kBirth, kDeath, kForget, kReady
    std::uint64_t bytes = 0;  // of kUnmovable: all there is now
  };

  // How long the thread worked from one boundary to the next, waiting left out: until the third time as it was measured
  // last, then the mean without the first two. In the first step all is new; in the second, what its update has made.
  struct Work {
    std::uint64_t hash = 0;  // of the operator
    std::uint64_t ns = 0;
    std::uint32_t count = 0;  // of times it was measured

    void measure(std::uint64_t measured_ns) {
      const double weight = ++count > 3 ? 1.0 / (count - 2) : 1.0;
      ns = static_cast<std::uint64_t>((1 - weight) * static_cast<double>(ns) +
                                      weight * static_cast<double>(measured_ns));
    }
  };

  std::vector<Actor> actors;
  std::vector<Event> events;
  std::vector<Work> operators;                             // of each kOperator event, until the next
  std::vector<std::size_t> pass_starts;                    // the first operator of each pass
  Work before_update;                                      // from the call of step() until the first chunk is updated
  std::vector<Work> updates;                               // by a chunk's place in the update
  std::unordered_map<std::uint64_t, std::uint32_t> index;  // of actors, by Resident::id

  void add(Event event) {
    if (events.size() < kMaxEvents) events.push_back(event);
  }
  void add(What what, const Resident& resident, Tier tier = Tier::kGpu) { add({what, tier, actor_of(resident), 0}); }

  std::uint32_t actor_of(const Resident& resident) {
    const auto [at, is_new] = index.try_emplace(resident.id, static_cast<std::uint32_t>(actors.size()));
    if (is_new)
      actors.push_back({resident.id,
                        resident.kind(),
                        resident.bytes,
                        resident.number,
                        resident.update_index,
                        resident.blank,
                        resident.kept,
                        resident.is_of_pass(),
                        {},
                        resident.update_tier});
    return at->second;
  }
};

}  // namespace asterias::evict
