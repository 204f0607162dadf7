#include "evict/update_placement.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "tests/evict/script_builder.hpp"

namespace asterias::evict::tests {
namespace {

constexpr std::uint64_t kElements = 1000, kPage = 4096;

// fp32: 8 bytes of state, 4 of gradient, 4 of parameters.
UpdateCost chunk_of(std::uint64_t cpu_ns = 0, std::uint64_t gpu_ns = 0) {
  return {8 * kElements, 4 * kElements, 4 * kElements, 0, cpu_ns, gpu_ns};
}

std::uint64_t room_of(const UpdateCost& chunk) { return chunk.state_bytes + chunk.grad_bytes; }

MoveRates links(double bytes_per_second) {
  MoveRates rates;
  rates.of(Edge::kH2d).bytes_per_second = rates.of(Edge::kD2h).bytes_per_second = bytes_per_second;
  return rates;
}

constexpr double kBytePerNs = 1e9;

auto num_above(const std::vector<bool>& placed) { return std::count(placed.begin(), placed.end(), true); }

}  // namespace

CATCH_TEST_CASE("update placement: what fits the margin is updated above, the last chunks first", "[unit]") {
  const std::vector<UpdateCost> chunks(4, chunk_of());
  const std::uint64_t room = room_of(chunks[0]);
  CATCH_CHECK(num_above(place_updates(chunks, {0}, {})) == 0);
  CATCH_CHECK(num_above(place_updates(chunks, {room - 1}, {})) == 0);
  CATCH_CHECK(place_updates(chunks, {room}, {}) == std::vector<bool>{false, false, false, true});
  CATCH_CHECK(place_updates(chunks, {3 * room - 1}, {}) == std::vector<bool>{false, false, true, true});
  CATCH_CHECK(num_above(place_updates(chunks, {4 * room}, {})) == 4);
  CATCH_CHECK(num_above(place_updates(chunks, {UINT64_MAX}, {})) == 4);
  CATCH_CHECK(place_updates({}, {room}, {}).empty());
}

CATCH_TEST_CASE("update placement: gradients take room from when they are there, and activations until then",
                "[unit]") {
  std::vector<UpdateCost> chunks(2, chunk_of());
  chunks[0].grad_from = 1;
  chunks[1].grad_from = 2;
  const std::vector<std::uint64_t> margin{16 * kElements, 20 * kElements, 24 * kElements};
  CATCH_CHECK(num_above(place_updates(chunks, margin, {})) == 2);
  for (std::size_t moment = 0; moment < margin.size(); ++moment) {
    auto less = margin;
    --less[moment];
    CATCH_CHECK(place_updates(chunks, less, {}) == std::vector<bool>{false, true});
  }
}

CATCH_TEST_CASE("update placement: what spares most for its room goes first, and what is too large is passed over",
                "[unit]") {
  UpdateCost coded = chunk_of();
  coded.state_bytes = 2 * kElements;
  UpdateCost large = chunk_of();
  for (auto* bytes : {&large.state_bytes, &large.grad_bytes, &large.param_bytes}) *bytes *= 10;
  const std::vector<UpdateCost> chunks{coded, chunk_of(), large};
  CATCH_CHECK(place_updates(chunks, {room_of(coded)}, {}) == std::vector<bool>{true, false, false});
  CATCH_CHECK(place_updates(chunks, {18 * kElements}, {}) == std::vector<bool>{true, true, false});
}

CATCH_TEST_CASE("update placement: beyond the margin the slower of processor and links decides", "[unit]") {
  const auto count = [](std::uint64_t cpu_ns, std::uint64_t gpu_ns, double rate, std::uint64_t margin = 0) {
    return num_above(place_updates(std::vector<UpdateCost>(100, chunk_of(cpu_ns, gpu_ns)), {margin}, links(rate)));
  };
  CATCH_CHECK(count(1000, 0, kBytePerNs) == 0);    // the links are the slowest: 4000 ns a chunk
  CATCH_CHECK(count(4000, 0, kBytePerNs) == 0);    // as slow as they
  CATCH_CHECK(count(12000, 0, kBytePerNs) == 50);  // 50 x 12000 = 50 x 4000 + 50 x 8000
  CATCH_CHECK(count(1000000, 0, kBytePerNs) == 100);
  CATCH_CHECK(count(12000, 12000, kBytePerNs) == 0);  // the same processor
  CATCH_CHECK(count(12000, 0, 0) == 0);               // nothing is known of the links
  CATCH_CHECK(count(0, 0, kBytePerNs) == 0);          // nor of the processor
  // What fits the margin makes the rest of the work less.
  CATCH_CHECK(count(12000, 0, kBytePerNs, 40 * room_of(chunk_of())) == 70);  // 30 x 12000 = 30 x 4000 + 30 x 8000
}

CATCH_TEST_CASE("update placement: a faster link takes more, a faster processor less", "[unit]") {
  const auto count = [](std::uint64_t cpu_ns, double rate) {
    return num_above(place_updates(std::vector<UpdateCost>(64, chunk_of(cpu_ns)), {0}, links(rate)));
  };
  for (const std::uint64_t cpu_ns : {500, 2000, 8000, 32000})
    for (const double rate : {0.25, 0.5, 1.0, 2.0, 4.0}) {
      CATCH_CHECK(count(cpu_ns, rate * kBytePerNs) <= count(cpu_ns, 2 * rate * kBytePerNs));
      CATCH_CHECK(count(cpu_ns, rate * kBytePerNs) <= count(2 * cpu_ns, rate * kBytePerNs));
    }
}

// Layers of a parameter page, a gradient page and two of state; forward makes a page of activations a layer.
PassScript layers_of(std::size_t num_layers, bool is_final_in_turn = true) {
  ScriptBuilder builder;
  std::vector<std::uint32_t> params, grads, activations;
  for (std::size_t layer = 0; layer < num_layers; ++layer) {
    const auto index = static_cast<std::int64_t>(layer);
    params.push_back(builder.add_chunk(kPage, Tier::kCpu, index));
    grads.push_back(builder.add_chunk(kPage, Tier::kCpu, index, ContentKind::kGrad));
    builder.add_chunk(kPage, Tier::kCpu, index, ContentKind::kExpAvg);
    builder.add_chunk(kPage, Tier::kCpu, index, ContentKind::kExpAvgSq);
    builder.update_takes(layer, 1000);
  }
  for (std::size_t layer = 0; layer < num_layers; ++layer) {
    activations.push_back(builder.add_activation(kPage));
    builder.run(1000, {params[layer]}).bear(activations[layer]);
  }
  for (std::size_t layer = num_layers; layer-- > 0;) {
    builder.run(1000, {params[layer], activations[layer]}, {grads[layer]}).kill(activations[layer]);
    if (is_final_in_turn) builder.ready(params[layer]);
  }
  return builder.script();
}

SimulatedTiers tiers_of(std::uint64_t gpu_pages, std::uint64_t look_ahead = 0) {
  SimulatedTiers tiers;
  tiers.levels = {Tier::kGpu, Tier::kCpu};
  tiers.room = {gpu_pages * kPage, UINT64_MAX, UINT64_MAX};
  tiers.look_ahead = look_ahead;
  return tiers;
}

const ChunkNumbers kFour{0, 1, 2, 3};

CATCH_TEST_CASE("update placement: the margin is what parameters, activations and fetches leave", "[unit]") {
  const PassScript script = layers_of(4);
  const auto choose = [&](std::uint64_t gpu_pages, std::uint64_t look_ahead = 0) {
    return choose_updates_above(script, tiers_of(gpu_pages, look_ahead), kFour, true);
  };
  CATCH_CHECK(choose(9).empty());              // four parameters and four activations, and a page
  CATCH_CHECK(choose(10) == ChunkNumbers{0});  // its gradient comes when activations have gone
  CATCH_CHECK(choose(11, 2).empty());
  CATCH_CHECK(choose(12, 2) == ChunkNumbers{0});
  CATCH_CHECK(choose(12) == ChunkNumbers{0, 1});
  CATCH_CHECK(choose(16) == ChunkNumbers{0, 1, 2});
  CATCH_CHECK(choose(17) == kFour);  // the last gradient comes while an activation is used
  CATCH_CHECK(choose_updates_above(script, tiers_of(64), {1, 3}, true) == ChunkNumbers{1, 3});
  CATCH_CHECK(choose_updates_above(layers_of(4, false), tiers_of(11), kFour, true) == ChunkNumbers{3});
}

CATCH_TEST_CASE("update placement: what others keep above is no margin", "[unit]") {
  PassScript script = layers_of(4);
  for (auto& actor : script.actors)
    if (actor.chunk == 0) actor.update_tier = Tier::kGpu;
  CATCH_CHECK(choose_updates_above(script, tiers_of(12), {1, 2, 3}, true) == ChunkNumbers{1});
  CATCH_CHECK(choose_updates_above(script, tiers_of(10), {1, 2, 3}, true).empty());
  CATCH_CHECK(choose_updates_above(script, tiers_of(10), kFour, true) == ChunkNumbers{0});  // decided anew
}

// Whatever is chosen for the margin makes no step slower.
CATCH_TEST_CASE("update placement: steps are foretold to be no slower with it, on drawn budgets and links", "[evict]") {
  std::mt19937_64 random(90);
  int num_faster = 0;
  for (int round = 0; round < 60; ++round) {
    const std::size_t num_layers = 2 + random() % 14;
    PassScript script = layers_of(num_layers);
    SimulatedTiers tiers = tiers_of(num_layers + 3 + random() % (4 * num_layers), random() % 3);
    const double rate = static_cast<double>(kPage) / static_cast<double>(500 + random() % 4000) * 1e9;
    for (const Edge edge : {Edge::kH2d, Edge::kD2h}) tiers.rates.of(edge).bytes_per_second = rate;
    const auto before = simulate(script, tiers, make_next_use_policy());
    ChunkNumbers all;
    for (std::uint64_t number = 0; number < num_layers; ++number) all.insert(number);
    const auto above = choose_updates_above(script, tiers, all, true);
    for (auto& actor : script.actors)
      if (above.contains(actor.chunk) && actor.kind < ContentKind::kActivation) actor.update_tier = Tier::kGpu;
    const auto after = simulate(script, tiers, make_next_use_policy());
    CATCH_CAPTURE(num_layers, tiers.room[0] / kPage, tiers.look_ahead, rate, above.size());
    CATCH_CHECK(static_cast<double>(after.times.step_ns) <= 1.02 * static_cast<double>(before.times.step_ns));
    num_faster += after.times.step_ns < before.times.step_ns;
  }
  CATCH_CHECK(num_faster > 20);
}

}  // namespace asterias::evict::tests
