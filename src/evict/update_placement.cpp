#include "evict/update_placement.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace asterias::evict {
namespace {

using What = PassScript::What;

// ---- the decision ---------------------------------------------------------------------------------------------------

// What an update keeps busy, and for how long. All of it runs at the same time.
struct Load {
  double cpu_ns = 0, up_ns = 0, down_ns = 0;

  double slowest_ns() const { return std::max({cpu_ns, up_ns, down_ns}); }
  friend Load operator+(const Load& a, const Load& b) {
    return {a.cpu_ns + b.cpu_ns, a.up_ns + b.up_ns, a.down_ns + b.down_ns};
  }
  friend Load operator-(const Load& a, const Load& b) {
    return {a.cpu_ns - b.cpu_ns, a.up_ns - b.up_ns, a.down_ns - b.down_ns};
  }
};

class Loads {
 public:
  explicit Loads(const MoveRates& rates) : up_(rates.of(Edge::kH2d)), down_(rates.of(Edge::kD2h)) {}

  bool are_known() const { return up_.bytes_per_second > 0 && down_.bytes_per_second > 0; }
  Load below(const UpdateCost& chunk) const { return load(chunk.cpu_ns, chunk.param_bytes, chunk.grad_bytes); }
  Load above(const UpdateCost& chunk) const { return load(chunk.gpu_ns, 0, 0); }
  // Above, with state that comes and goes.
  Load passing(const UpdateCost& chunk) const { return load(chunk.gpu_ns, chunk.state_bytes, chunk.state_bytes); }

 private:
  Load load(std::uint64_t cpu_ns, std::uint64_t up_bytes, std::uint64_t down_bytes) const {
    return {static_cast<double>(cpu_ns), static_cast<double>(transfer_ns(up_, up_bytes)),
            static_cast<double>(transfer_ns(down_, down_bytes))};
  }

  const EdgeRate up_, down_;
};

// The chunks that spare most bytes for their room first; of equal ones, the last first.
std::vector<std::size_t> best_first(std::span<const UpdateCost> chunks) {
  std::vector<std::size_t> order(chunks.size());
  std::iota(order.rbegin(), order.rend(), std::size_t{0});
  const auto worth = [&](std::size_t at) {
    const auto& chunk = chunks[at];
    return static_cast<double>(chunk.grad_bytes + chunk.param_bytes) /
           static_cast<double>(std::max<std::uint64_t>(chunk.state_bytes + chunk.grad_bytes, 1));
  };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return worth(a) > worth(b); });
  return order;
}

std::uint64_t room_at(const UpdateCost& chunk, std::size_t moment) {
  return chunk.state_bytes + (moment >= chunk.grad_from ? chunk.grad_bytes : 0);
}

// Takes the chunk's room out of the margin; false, without effect, where it has none.
bool take_room(const UpdateCost& chunk, std::vector<std::uint64_t>& margin_bytes) {
  for (std::size_t moment = 0; moment < margin_bytes.size(); ++moment)
    if (room_at(chunk, moment) > margin_bytes[moment]) return false;
  for (std::size_t moment = 0; moment < margin_bytes.size(); ++moment) margin_bytes[moment] -= room_at(chunk, moment);
  return true;
}

// ---- what the passes say --------------------------------------------------------------------------------------------

// A chunk by its lists.
struct ChunkBytes {
  std::array<std::uint64_t, kNumContentKinds> of{};
  std::int64_t update_index = -1;
  Tier update_tier = Tier::kCpu;
  std::size_t grad_from = SIZE_MAX;  // the moment after its gradient has been written
  std::size_t ready = SIZE_MAX;      // among the chunks whose gradients were final

  std::uint64_t bytes(ContentKind kind) const { return of[static_cast<std::size_t>(kind)]; }
  // A gradient in its parameter's place goes down with it.
  std::uint64_t grad_bytes() const {
    const std::uint64_t own = bytes(ContentKind::kGrad);
    return own > 0 ? own : bytes(ContentKind::kParam);
  }
  std::uint64_t state_bytes() const {
    return bytes(ContentKind::kMaster) + bytes(ContentKind::kExpAvg) + bytes(ContentKind::kExpAvgSq);
  }
};

// The passes, by moment: one more than they have operators.
class Passes {
 public:
  explicit Passes(const PassScript& script) : script_(script) {
    for (const auto& actor : script.actors) {
      if (actor.kind >= ContentKind::kActivation) {
        if (actor.there[static_cast<std::size_t>(Tier::kGpu)] || actor.there[static_cast<std::size_t>(Tier::kCpu)])
          live_ += actor.bytes;
        continue;
      }
      auto& chunk = chunks_[actor.chunk];
      chunk.of[static_cast<std::size_t>(actor.kind)] += actor.bytes;
      chunk.update_index = std::max(chunk.update_index, actor.update_index);
      chunk.update_tier = actor.update_tier;
    }
    for (const auto& event : script.events) see(event);
    note_live();
  }

  const std::map<std::uint64_t, ChunkBytes>& chunks() const { return chunks_; }
  // What lives and cannot move, at its most within each moment.
  const std::vector<std::uint64_t>& live_bytes() const { return live_bytes_; }

 private:
  void see(const PassScript::Event& event) {
    switch (event.what) {
      case What::kOperator: live_bytes_.push_back(0); break;
      case What::kBirth: live_ += script_.actors[event.actor].bytes; break;
      case What::kDeath: live_ -= std::min(live_, script_.actors[event.actor].bytes); break;
      case What::kUnmovable:
        if (event.tier == Tier::kGpu) unmovable_ = event.bytes;
        break;
      case What::kWrite: see_gradient(script_.actors[event.actor]); break;
      case What::kReady: chunks_[script_.actors[event.actor].chunk].ready = num_ready_++; break;
      default: break;
    }
    note_live();
  }

  void see_gradient(const PassScript::Actor& actor) {
    if (actor.kind != ContentKind::kGrad) return;
    auto& chunk = chunks_[actor.chunk];
    chunk.grad_from = std::min(chunk.grad_from, live_bytes_.size() - 1);
  }

  void note_live() { live_bytes_.back() = std::max(live_bytes_.back(), live_ + unmovable_); }

  const PassScript& script_;
  std::map<std::uint64_t, ChunkBytes> chunks_;  // by number
  std::vector<std::uint64_t> live_bytes_{0};
  std::uint64_t live_ = 0, unmovable_ = 0;
  std::size_t num_ready_ = 0;
};

UpdateCost cost_of(const ChunkBytes& chunk, const PassScript& script, bool costs_processor) {
  UpdateCost cost;
  cost.state_bytes = chunk.state_bytes();
  cost.grad_bytes = chunk.grad_bytes();
  cost.param_bytes = chunk.bytes(ContentKind::kParam);
  cost.grad_from = chunk.grad_from;
  const auto place = static_cast<std::size_t>(chunk.update_index);
  if (place < script.updates.size()) cost.cpu_ns = script.updates[place].ns;
  if (costs_processor) cost.gpu_ns = cost.cpu_ns;
  return cost;
}

// What parameters, activations and the room that is kept for fetches leave free. Gradients that go down take none for
// long.
std::vector<std::uint64_t> margin_of(const Passes& passes, const PassScript& script, const SimulatedTiers& tiers) {
  const std::uint64_t room = tiers.room[static_cast<std::size_t>(Tier::kGpu)];
  std::uint64_t taken = 0, largest = 0;
  for (const auto& actor : script.actors) largest = std::max(largest, actor.bytes);
  for (const auto& [number, chunk] : passes.chunks()) taken += chunk.bytes(ContentKind::kParam);
  taken += tiers.look_ahead * largest;
  std::vector<std::uint64_t> margin_bytes;
  for (const std::uint64_t live : passes.live_bytes()) margin_bytes.push_back(room - std::min(room, taken + live));
  return margin_bytes;
}

// Takes moments together between which no gradient comes: there may be thousands of operators a chunk.
std::vector<std::uint64_t> between_gradients(const std::vector<std::uint64_t>& margin_bytes,
                                             std::vector<UpdateCost>& costs) {
  std::vector<std::size_t> starts{0};
  for (const auto& cost : costs) starts.push_back(std::min(cost.grad_from, margin_bytes.size()));
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  std::vector<std::uint64_t> least(starts.size(), UINT64_MAX);
  for (std::size_t moment = 0; moment < margin_bytes.size(); ++moment) {
    const auto next = std::upper_bound(starts.begin(), starts.end(), moment);
    auto& bytes = least[static_cast<std::size_t>(next - starts.begin()) - 1];
    bytes = std::min(bytes, margin_bytes[moment]);
  }
  for (auto& cost : costs)
    cost.grad_from = static_cast<std::size_t>(
        std::lower_bound(starts.begin(), starts.end(), std::min(cost.grad_from, margin_bytes.size())) - starts.begin());
  return least;
}

// As their gradients were final, then by place: those of the last have least time to go down before step() returns.
std::vector<std::uint64_t> as_they_were_final(const Passes& passes, const ChunkNumbers& chunks) {
  std::vector<std::uint64_t> numbers;
  for (const auto& [number, chunk] : passes.chunks())
    if (chunk.update_index >= 0 && chunks.contains(number)) numbers.push_back(number);
  std::sort(numbers.begin(), numbers.end(), [&](std::uint64_t a, std::uint64_t b) {
    const auto key = [&](std::uint64_t number) {
      const auto& chunk = passes.chunks().at(number);
      return std::pair(chunk.ready, chunk.update_index);
    };
    return key(a) < key(b);
  });
  return numbers;
}

}  // namespace

std::vector<bool> place_updates(std::span<const UpdateCost> chunks, std::vector<std::uint64_t> margin_bytes,
                                const MoveRates& rates) {
  const Loads loads(rates);
  const auto order = best_first(chunks);
  std::vector<bool> is_above(chunks.size());
  Load load;
  for (const std::size_t at : order) {
    is_above[at] = take_room(chunks[at], margin_bytes);
    load = load + (is_above[at] ? loads.above(chunks[at]) : loads.below(chunks[at]));
  }
  if (!loads.are_known()) return is_above;
  for (const std::size_t at : order) {
    if (is_above[at] || chunks[at].cpu_ns == 0) continue;
    const Load other = load - loads.below(chunks[at]) + loads.passing(chunks[at]);
    if (other.slowest_ns() >= load.slowest_ns()) break;
    load = other;
    is_above[at] = true;
  }
  return is_above;
}

ChunkNumbers choose_updates_above(const PassScript& script, const SimulatedTiers& tiers, const ChunkNumbers& chunks,
                                  bool costs_processor) {
  const Passes passes(script);
  auto margin_bytes = margin_of(passes, script, tiers);
  for (const auto& [number, chunk] : passes.chunks())
    if (chunk.update_tier == Tier::kGpu && !chunks.contains(number))
      take_room(cost_of(chunk, script, costs_processor), margin_bytes);
  const auto numbers = as_they_were_final(passes, chunks);
  std::vector<UpdateCost> costs;
  for (const std::uint64_t number : numbers)
    costs.push_back(cost_of(passes.chunks().at(number), script, costs_processor));
  margin_bytes = between_gradients(margin_bytes, costs);
  const auto is_above = place_updates(costs, std::move(margin_bytes), tiers.rates);
  ChunkNumbers above;
  for (std::size_t at = 0; at < numbers.size(); ++at)
    if (is_above[at]) above.insert(numbers[at]);
  return above;
}

}  // namespace asterias::evict
