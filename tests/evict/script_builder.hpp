// Scripts for the simulator, written by hand or drawn.
#pragma once

#include <random>
#include <vector>

#include "evict/pass_script.hpp"
#include "evict/simulator.hpp"

namespace asterias::evict::tests {

using What = PassScript::What;

inline constexpr double kByteAtNs = 1e9;  // a rate: one byte takes a nanosecond

class ScriptBuilder {
 public:
  // Adds a chunk's list that lies on `tier`; `update_index` negative: nothing updates it.
  std::uint32_t add_chunk(std::uint64_t bytes, Tier tier, std::int64_t update_index = -1,
                          ContentKind kind = ContentKind::kParam) {
    const std::uint32_t actor = add_actor(kind, bytes);
    script_.actors[actor].chunk = update_index >= 0 ? static_cast<std::uint64_t>(update_index) : 1000 + actor;
    script_.actors[actor].update_index = update_index;
    script_.actors[actor].there[index_of(tier)] = true;
    return actor;
  }
  std::uint32_t add_activation(std::uint64_t bytes) {
    const std::uint32_t actor = add_actor(ContentKind::kActivation, bytes);
    script_.actors[actor].is_of_pass = true;
    return actor;
  }

  // An operator that works so long and reads and writes these.
  ScriptBuilder& run(std::uint64_t ns, const std::vector<std::uint32_t>& reads,
                     const std::vector<std::uint32_t>& writes = {}, Tier tier = Tier::kGpu) {
    script_.operators.push_back({0, ns, 1});
    script_.events.push_back({What::kOperator});
    for (const auto actor : reads) script_.events.push_back({What::kRead, tier, actor, 0});
    for (const auto actor : writes) script_.events.push_back({What::kWrite, tier, actor, 0});
    return *this;
  }
  ScriptBuilder& bear(std::uint32_t actor, Tier tier = Tier::kGpu) { return add({What::kBirth, tier, actor, 0}); }
  ScriptBuilder& kill(std::uint32_t actor) { return add({What::kDeath, Tier::kGpu, actor, 0}); }
  // The gradients of the chunk with this parameter list are final.
  ScriptBuilder& ready(std::uint32_t param) { return add({What::kReady, Tier::kGpu, param, 0}); }
  ScriptBuilder& set_unmovable(std::uint64_t bytes, Tier tier = Tier::kGpu) {
    return add({What::kUnmovable, tier, 0, bytes});
  }
  ScriptBuilder& update_takes(std::size_t index, std::uint64_t ns) {
    if (index >= script_.updates.size()) script_.updates.resize(index + 1);
    script_.updates[index] = {0, ns, 1};
    return *this;
  }
  // All of it is one pass.
  PassScript script() const {
    PassScript script = script_;
    script.events.insert(script.events.begin(), {What::kBeginPass});
    script.events.push_back({What::kEndPass});
    return script;
  }

 private:
  std::uint32_t add_actor(ContentKind kind, std::uint64_t bytes) {
    const auto number = static_cast<std::uint32_t>(script_.actors.size());
    script_.actors.push_back({number + 1, kind, bytes, number, -1, false, false, false, {}});
    return number;
  }
  ScriptBuilder& add(PassScript::Event event) {
    script_.events.push_back(event);
    return *this;
  }

  PassScript script_;
};

// A model of a few layers, as an engine would write it down: forward makes activations, backward uses and ends them and
// writes gradients, and every chunk is updated.
inline PassScript draw_script(std::mt19937_64& random) {
  const auto between = [&](std::uint64_t least, std::uint64_t most) { return least + random() % (most - least + 1); };
  const std::uint64_t num_layers = between(1, 6), num_tiers_used = between(1, 3);
  ScriptBuilder builder;
  std::vector<std::uint32_t> params, grads, activations;
  for (std::uint64_t layer = 0; layer < num_layers; ++layer) {
    const auto index = static_cast<std::int64_t>(layer);
    const std::uint64_t bytes = 4096 * between(1, 8);
    const auto tier = static_cast<Tier>(between(0, num_tiers_used - 1));
    params.push_back(builder.add_chunk(bytes, tier, index));
    grads.push_back(builder.add_chunk(bytes, tier, index, ContentKind::kGrad));
    builder.add_chunk(bytes, tier, index, ContentKind::kExpAvg);
    builder.add_chunk(bytes, tier, index, ContentKind::kExpAvgSq);
    if (random() % 2) builder.update_takes(layer, between(0, 100'000));
  }
  for (std::uint64_t layer = 0; layer < num_layers; ++layer) {
    activations.push_back(builder.add_activation(4096 * between(1, 4)));
    std::vector<std::uint32_t> reads{params[layer]};
    if (layer > 0) reads.push_back(activations[layer - 1]);
    builder.run(between(0, 50'000), reads);
    builder.set_unmovable(4096 * between(0, 3)).bear(activations[layer]);
  }
  for (std::uint64_t layer = num_layers; layer-- > 0;) {
    builder.run(between(0, 100'000), {params[layer], activations[layer]}, {grads[layer]});
    builder.set_unmovable(4096 * between(0, 3)).kill(activations[layer]);
  }
  PassScript script = builder.script();
  for (std::uint64_t layer = 0; layer < num_layers; ++layer) {
    const Tier tier = random() % 3 ? Tier::kCpu : Tier::kGpu;
    for (auto& actor : script.actors)
      if (actor.update_index == static_cast<std::int64_t>(layer)) actor.update_tier = tier;
  }
  return script;
}

inline SimulatedTiers draw_tiers(std::mt19937_64& random) {
  SimulatedTiers tiers;
  tiers.levels = random() % 3 ? std::vector{Tier::kGpu, Tier::kCpu, Tier::kNvme} : std::vector{Tier::kGpu, Tier::kCpu};
  tiers.room = {4096 * (20 + random() % 100), UINT64_MAX, UINT64_MAX};
  if (tiers.levels.size() == 3) tiers.room[1] = 4096 * (40 + random() % 200);
  tiers.look_ahead = random() % 4;
  tiers.offloads = random() % 2;
  return tiers;
}

}  // namespace asterias::evict::tests
