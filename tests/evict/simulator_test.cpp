#include "evict/simulator.hpp"

#include <catch2/catch.hpp>

#include "tests/evict/script_builder.hpp"

namespace asterias::evict::tests {
namespace {

constexpr std::uint64_t kBytes = 4096;

SimulatedTiers two_tiers(std::uint64_t gpu_bytes, double h2d, double d2h) {
  SimulatedTiers tiers;
  tiers.levels = {Tier::kGpu, Tier::kCpu};
  tiers.room = {gpu_bytes, UINT64_MAX, UINT64_MAX};
  tiers.rates.of(Edge::kH2d).bytes_per_second = h2d;
  tiers.rates.of(Edge::kD2h).bytes_per_second = d2h;
  return tiers;
}

CATCH_TEST_CASE("simulator: what stays takes its work and nothing else", "[evict]") {
  ScriptBuilder builder;
  const auto chunk = builder.add_chunk(kBytes, Tier::kCpu);
  builder.run(1000, {chunk}).run(500, {chunk});
  const auto result = simulate(builder.script(), two_tiers(kBytes, kByteAtNs, kByteAtNs), make_lru_policy());
  CATCH_CHECK(result.times.step_ns == 1500);
  CATCH_CHECK(result.times.pass_work_ns == 1500);
  CATCH_CHECK(result.moved(Edge::kH2d) == 0);
  CATCH_CHECK(result.times.stalled_ns() == 0);
  CATCH_CHECK(std::string(result.times.slowest_resource()) == "processor");
}

CATCH_TEST_CASE("simulator: two chunks in the room of one wait for each fetch", "[evict]") {
  ScriptBuilder builder;
  const auto a = builder.add_chunk(kBytes, Tier::kCpu), b = builder.add_chunk(kBytes, Tier::kCpu);
  builder.run(1000, {a}).run(1000, {b});
  auto tiers = two_tiers(kBytes, kByteAtNs, 0);
  const auto result = simulate(builder.script(), tiers, make_lru_policy());
  CATCH_CHECK(result.times.step_ns == 2 * (kBytes + 1000));
  CATCH_CHECK(result.times.stalled(Edge::kH2d) == 2 * kBytes);
  CATCH_CHECK(result.times.busy(Edge::kH2d) == 2 * kBytes);
  CATCH_CHECK(result.times.slowest_ns() == 2 * kBytes);
  CATCH_CHECK(std::string(result.times.slowest_resource()) == "link to the accelerator");
  tiers.rates.of(Edge::kH2d).latency_ns = 50;
  const auto late = simulate(builder.script(), tiers, make_lru_policy());
  CATCH_CHECK(late.times.step_ns == 2 * (kBytes + 50 + 1000));
  CATCH_CHECK(late.times.busy(Edge::kH2d) == 2 * kBytes);
}

// While one runs, another takes the place of the one before: a fetch more than on demand, and none is waited for.
CATCH_TEST_CASE("simulator: a fetch ahead overlaps with work", "[evict]") {
  ScriptBuilder builder;
  const auto a = builder.add_chunk(kBytes, Tier::kCpu), b = builder.add_chunk(kBytes, Tier::kCpu),
             c = builder.add_chunk(kBytes, Tier::kCpu);
  builder.run(10'000, {a}).run(10'000, {b}).run(10'000, {c});
  auto tiers = two_tiers(2 * kBytes, kByteAtNs, 0);
  tiers.look_ahead = 1;
  const auto ahead = simulate(builder.script(), tiers, make_next_use_policy());
  CATCH_CHECK(ahead.moved(Edge::kH2d) == 3 * kBytes);
  CATCH_CHECK(ahead.times.step_ns == 30'000);
  CATCH_CHECK(ahead.times.stalled(Edge::kH2d) == 0);
  tiers.look_ahead = 0;
  CATCH_CHECK(simulate(builder.script(), tiers, make_lru_policy()).times.step_ns == 30'000 + 3 * kBytes);
}

CATCH_TEST_CASE("simulator: who needs the place of something dirty waits for both ways", "[evict]") {
  ScriptBuilder builder;
  const auto a = builder.add_chunk(kBytes, Tier::kCpu), b = builder.add_chunk(kBytes, Tier::kCpu);
  builder.run(1000, {}, {a}).run(1000, {}, {b});
  const auto result = simulate(builder.script(), two_tiers(kBytes, kByteAtNs, 2 * kByteAtNs), make_lru_policy());
  CATCH_CHECK(result.times.stalled(Edge::kD2h) == kBytes);
  CATCH_CHECK(result.times.stalled(Edge::kH2d) == 2 * kBytes);
  CATCH_CHECK(result.times.step_ns == 2 * (kBytes / 2 + kBytes + 1000));
}

CATCH_TEST_CASE("simulator: from the drive to the accelerator bytes go twice, one way after the other", "[evict]") {
  ScriptBuilder builder;
  const auto a = builder.add_chunk(kBytes, Tier::kNvme), b = builder.add_chunk(kBytes, Tier::kNvme);
  builder.run(1000, {a}).run(1000, {b});
  auto tiers = two_tiers(kBytes, kByteAtNs, 0);
  tiers.levels.push_back(Tier::kNvme);
  tiers.room[index_of(Tier::kCpu)] = kBytes;
  tiers.rates.of(Edge::kNvmeRead).bytes_per_second = kByteAtNs / 2;
  const auto result = simulate(builder.script(), tiers, make_lru_policy());
  CATCH_CHECK(result.times.step_ns == 2 * (2 * kBytes + kBytes + 1000));
  CATCH_CHECK(result.times.stalled(Edge::kNvmeRead) == 4 * kBytes);
  CATCH_CHECK(std::string(result.times.slowest_resource()) == "drive");
}

CATCH_TEST_CASE("simulator: chunks whose update was not measured take what their elements do", "[evict]") {
  ScriptBuilder builder;
  const auto a = builder.add_chunk(kBytes, Tier::kCpu, 0);
  builder.add_chunk(kBytes, Tier::kCpu, 1);
  builder.run(1000, {a}, {}, Tier::kCpu).update_takes(0, 5000);
  SimulatedTiers tiers;
  tiers.levels = {Tier::kCpu};
  tiers.room.fill(UINT64_MAX);
  tiers.update_params_per_second = 0.5e9;
  PassScript script = builder.script();
  script.before_update = {0, 700, 1};
  const auto result = simulate(script, tiers, make_lru_policy());
  CATCH_CHECK(result.times.pass_work_ns == 1000);
  CATCH_CHECK(result.times.update_work_ns == 700 + 5000 + kBytes / 4 * 2);
  CATCH_CHECK(result.times.update_ns == result.times.update_work_ns);
  CATCH_CHECK(result.times.step_ns == 1000 + result.times.update_ns);
}

// A chunk of a page a list, updated where it is said.
Simulation play_update(Tier tier, std::uint64_t gpu_pages) {
  ScriptBuilder builder;
  const auto param = builder.add_chunk(kBytes, Tier::kCpu, 0);
  const auto grad = builder.add_chunk(kBytes, Tier::kCpu, 0, ContentKind::kGrad);
  builder.add_chunk(kBytes, Tier::kCpu, 0, ContentKind::kExpAvg);
  builder.add_chunk(kBytes, Tier::kCpu, 0, ContentKind::kExpAvgSq);
  builder.run(1000, {param}).run(1000, {param}, {grad}).update_takes(0, 500);
  PassScript script = builder.script();
  for (auto& actor : script.actors) actor.update_tier = tier;
  return simulate(script, two_tiers(gpu_pages * kBytes, kByteAtNs, kByteAtNs), make_next_use_policy());
}

CATCH_TEST_CASE("simulator: what is updated on the accelerator moves only as far as there is no room", "[evict]") {
  const auto below = play_update(Tier::kCpu, 8), above = play_update(Tier::kGpu, 8), tight = play_update(Tier::kGpu, 4),
             too_tight = play_update(Tier::kGpu, 3);
  CATCH_CHECK(below.moved(Edge::kD2h) == kBytes);
  CATCH_CHECK(below.moved(Edge::kH2d) == kBytes);
  for (const auto& one : {above, tight}) {
    CATCH_CHECK(one.moved(Edge::kD2h) == 0);
    CATCH_CHECK(one.moved(Edge::kH2d) == 0);
    CATCH_CHECK(one.times.step_ns == 2500);
    CATCH_CHECK(one.times.update_work_ns == 500);
    CATCH_CHECK(sum_of(one.peak_content[index_of(Tier::kGpu)]) == 4 * kBytes);
  }
  CATCH_CHECK(too_tight.moved(Edge::kD2h) == kBytes);  // updated below: its lists have no room above
  CATCH_CHECK(sum_of(too_tight.peak_content[index_of(Tier::kGpu)]) <= 3 * kBytes);
}

// Four of eight chunks fit: each is read once and written once a step.
CATCH_TEST_CASE("simulator: an update that is run ahead of takes what its slowest resource takes", "[evict]") {
  constexpr std::uint64_t kChunks = 8, kWork = 9000;
  ScriptBuilder builder;
  for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) {
    builder.add_chunk(kBytes, Tier::kNvme, static_cast<std::int64_t>(chunk));
    builder.update_takes(chunk, kWork);
  }
  SimulatedTiers tiers;
  tiers.levels = {Tier::kCpu, Tier::kNvme};
  tiers.room = {0, 4 * kBytes, UINT64_MAX};
  tiers.rates.of(Edge::kNvmeRead).bytes_per_second = tiers.rates.of(Edge::kNvmeWrite).bytes_per_second = kByteAtNs;
  const auto on_demand = simulate(builder.script(), tiers, make_lru_policy());
  CATCH_CHECK(on_demand.times.step_ns == kChunks * (kWork + 2 * kBytes));
  tiers.look_ahead = 1;
  const auto ahead = simulate(builder.script(), tiers, make_next_use_policy());
  CATCH_CHECK(ahead.moved(Edge::kNvmeWrite) <= kChunks * kBytes);
  CATCH_CHECK(ahead.times.step_ns == kChunks * kWork);
  CATCH_CHECK(ahead.times.stalled_ns() == 0);
}

CATCH_TEST_CASE("simulator: what stays until it is used again is not written down", "[evict]") {
  ScriptBuilder builder;
  const auto chunk = builder.add_chunk(2 * kBytes, Tier::kGpu);
  const auto activation = builder.add_activation(kBytes);
  builder.run(1000, {chunk}).bear(activation);
  for (int at = 0; at < 100; ++at) builder.run(1000, {chunk});
  builder.run(1000, {activation}).kill(activation);
  auto tiers = two_tiers(6 * kBytes, kByteAtNs, kByteAtNs);
  tiers.look_ahead = 2;
  CATCH_CHECK(simulate(builder.script(), tiers, make_next_use_policy()).moved(Edge::kD2h) == 0);
}

struct Layers {
  std::vector<std::uint32_t> params, grads;
};

// Chunks of a parameter and a gradient on one tier, with state on the drive, in the order of the update or against it.
Layers add_layers(ScriptBuilder& builder, std::uint64_t num_layers, Tier tier, std::uint64_t update_ns,
                  std::initializer_list<ContentKind> state = {}, bool backwards = false) {
  Layers layers;
  for (std::uint64_t layer = 0; layer < num_layers; ++layer) {
    const auto place = static_cast<std::int64_t>(backwards ? num_layers - 1 - layer : layer);
    layers.params.push_back(builder.add_chunk(kBytes, tier, place));
    layers.grads.push_back(builder.add_chunk(kBytes, tier, place, ContentKind::kGrad));
    for (const auto kind : state) builder.add_chunk(kBytes, Tier::kNvme, place, kind);
    builder.update_takes(layer, update_ns);
  }
  return layers;
}

SimulatedTiers with_drive(SimulatedTiers tiers, std::uint64_t cpu_room) {
  tiers.levels.push_back(Tier::kNvme);
  tiers.room[index_of(Tier::kCpu)] = cpu_room;
  tiers.rates.of(Edge::kNvmeRead).bytes_per_second = tiers.rates.of(Edge::kNvmeWrite).bytes_per_second = kByteAtNs;
  tiers.look_ahead = 2;
  return tiers;
}

// Layers whose parameters, gradients and updates all begin on the accelerator, in one pass forward and one back.
PassScript layered(std::uint64_t num_layers, std::uint64_t run_ns, std::uint64_t update_ns, bool early,
                   bool backwards = false) {
  ScriptBuilder builder;
  const auto [params, grads] = add_layers(builder, num_layers, Tier::kGpu, update_ns, {}, backwards);
  for (const auto param : params) builder.run(run_ns, {param});
  for (std::uint64_t layer = num_layers; layer-- > 0;) {
    builder.run(run_ns, {params[layer]}, {grads[layer]});
    if (early) builder.ready(params[layer]);
  }
  return builder.script();
}

CATCH_TEST_CASE("simulator: final gradients go down while backward runs, new parameters up while the update does",
                "[evict]") {
  constexpr std::uint64_t kLayers = 4, kWork = 9000;
  const auto script = layered(kLayers, kWork, kWork, /*early=*/false);
  auto tiers = two_tiers(2 * kLayers * kBytes, kByteAtNs, kByteAtNs);
  tiers.look_ahead = 2;
  const auto result = simulate(script, tiers, make_next_use_policy());
  CATCH_CHECK(result.moved(Edge::kD2h) == kLayers * kBytes);
  CATCH_CHECK(result.moved(Edge::kH2d) == kLayers * kBytes);
  // The last gradient of backward is the first that the update wants, and its last parameter is not needed at once.
  CATCH_CHECK(result.times.stalled(Edge::kD2h) == kBytes);
  CATCH_CHECK(result.times.stalled(Edge::kH2d) == 0);
  tiers.look_ahead = 0;
  CATCH_CHECK(simulate(script, tiers, make_next_use_policy()).times.stalled_ns() == 2 * kLayers * kBytes);
}

// Gradients and state take as long over their ways as all work takes: only where updates need not wait for the last
// gradient can the ways be busy all the time.
CATCH_TEST_CASE("simulator: updates ahead of step() use the time of backward", "[evict]") {
  constexpr std::uint64_t kLayers = 16;
  const auto build = [](bool early) { return layered(kLayers, kBytes / 2, 100, early); };
  auto tiers = two_tiers(3 * kLayers * kBytes, kByteAtNs, kByteAtNs);
  tiers.look_ahead = 4;
  const auto at_step = simulate(build(false), tiers, make_next_use_policy());
  const auto early = simulate(build(true), tiers, make_next_use_policy());
  CATCH_CHECK(at_step.times.slowest_ns() == early.times.slowest_ns());
  CATCH_CHECK(at_step.times.step_ns > at_step.times.slowest_ns() * 15 / 10);
  CATCH_CHECK(early.times.step_ns < early.times.slowest_ns() * 15 / 10);
  CATCH_CHECK(early.times.work_ns() == at_step.times.work_ns());
  CATCH_CHECK(early.moved_bytes == at_step.moved_bytes);
  CATCH_CHECK(early.most_shadow_bytes > 0);
  CATCH_CHECK(early.most_shadow_bytes <= kLayers * kBytes);
  CATCH_CHECK(at_step.most_shadow_bytes == 0);
}

// The same without updates ahead, as with clipping. New parameters go up faster than gradients come down, of which half
// are still on their way when backward ends: without waiting for the last, forward begins.
CATCH_TEST_CASE("simulator: updates that are put off use the time of forward", "[evict]") {
  constexpr std::uint64_t kLayers = 16;
  const auto script = layered(kLayers, kBytes / 2, 100, /*early=*/false);
  auto tiers = two_tiers(3 * kLayers * kBytes, 4 * kByteAtNs, kByteAtNs);
  tiers.look_ahead = 4;
  const auto at_step = simulate(script, tiers, make_next_use_policy());
  tiers.puts_off_updates = true;
  const auto late = simulate(script, tiers, make_next_use_policy());
  CATCH_CHECK(late.times.step_ns < at_step.times.step_ns * 90 / 100);
  CATCH_CHECK(late.times.update_ns < at_step.times.update_ns / 2);
  CATCH_CHECK(late.times.work_ns() == at_step.times.work_ns());
  CATCH_CHECK(late.moved_bytes == at_step.moved_bytes);
}

// Both ways take longer than all work, so forward waits: as soon as for the first parameters, others' gradients have
// come.
CATCH_TEST_CASE("simulator: who waits for what was put off has others computed meanwhile", "[evict]") {
  constexpr std::uint64_t kLayers = 16;
  const auto script = layered(kLayers, kBytes / 2, 100, /*early=*/false);
  for (const std::uint64_t pages : {24, 40}) {
    auto tiers = two_tiers(pages * kBytes, kByteAtNs, kByteAtNs);
    tiers.look_ahead = 2;
    const auto at_step = simulate(script, tiers, make_next_use_policy());
    tiers.puts_off_updates = true;
    const auto late = simulate(script, tiers, make_next_use_policy());
    CATCH_CHECK(at_step.times.step_ns > at_step.times.slowest_ns() * 15 / 10);
    CATCH_CHECK(late.times.step_ns < late.times.slowest_ns() * 15 / 10);
    CATCH_CHECK(late.moved_bytes == at_step.moved_bytes);  // no old parameters go up
  }
}

// What is there of old ones can be dropped for them, as it lies below, too.
CATCH_TEST_CASE("simulator: new parameters go up during backward without more room than old ones had", "[evict]") {
  constexpr std::uint64_t kLayers = 16;
  const auto script = layered(kLayers, kBytes / 4, 100, /*early=*/true);
  const auto step_ns = [&](std::uint64_t gpu_pages) {
    auto tiers = two_tiers(gpu_pages * kBytes, kByteAtNs, kByteAtNs);
    tiers.look_ahead = 2;
    return simulate(script, tiers, make_next_use_policy()).times.step_ns;
  };
  CATCH_CHECK(step_ns(kLayers * 3 / 2) < step_ns(4 * kLayers) * 102 / 100);
}

// Gradients are longer on their way down than backward takes, so most updates are step()'s.
CATCH_TEST_CASE("simulator: what forward uses first goes up while the rest is updated", "[evict]") {
  constexpr std::uint64_t kLayers = 16;
  auto tiers = two_tiers(3 * kLayers * kBytes, kByteAtNs, kByteAtNs);
  tiers.look_ahead = 2;
  const auto step_ns = [&](bool backwards) {
    const auto script = layered(kLayers, kBytes / 4, 100, /*early=*/true, backwards);
    return simulate(script, tiers, make_next_use_policy()).times.step_ns;
  };
  CATCH_CHECK(step_ns(/*backwards=*/false) < step_ns(/*backwards=*/true));
}

// State that is fetched far ahead would take the room on the cpu tier that they come down through.
CATCH_TEST_CASE("simulator: with a drive below, too, gradients go down once", "[evict]") {
  constexpr std::uint64_t kLayers = 8;
  ScriptBuilder builder;
  const auto [params, grads] = add_layers(builder, kLayers, Tier::kCpu, 1000, {ContentKind::kExpAvg});
  for (const auto param : params) builder.run(3 * kBytes, {param});
  for (std::uint64_t layer = kLayers; layer-- > 0;) builder.run(3 * kBytes, {params[layer]}, {grads[layer]});
  const auto moved_down = [&](std::uint64_t cpu_pages) {
    const auto tiers = with_drive(two_tiers(8 * kBytes, kByteAtNs, kByteAtNs), cpu_pages * kBytes);
    return simulate(builder.script(), tiers, make_next_use_policy()).moved(Edge::kD2h);
  };
  // One that has not come down when step() returns counts in the next.
  CATCH_CHECK(moved_down(14) <= (kLayers + 1) * kBytes);
  CATCH_CHECK(moved_down(12) < 2 * kLayers * kBytes);  // and not all parameters, whose copies below have given way
}

// All state is read and written once a step, which takes as long as backward. Room for it is that of two chunks and
// their shadows, beside what comes down.
CATCH_TEST_CASE("simulator: updates ahead of step() have the drive at work while backward runs", "[evict]") {
  constexpr std::uint64_t kLayers = 16, kWork = 4 * kBytes;
  const auto play = [](bool early) {
    ScriptBuilder builder;
    const auto [params, grads] =
        add_layers(builder, kLayers, Tier::kGpu, 100, {ContentKind::kExpAvg, ContentKind::kExpAvgSq});
    for (const auto param : params) builder.run(kBytes / 4, {param});
    for (std::uint64_t layer = kLayers; layer-- > 0;) {
      builder.run(kWork, {params[layer]}, {grads[layer]});
      if (early) builder.ready(params[layer]);
    }
    const auto tiers = with_drive(two_tiers(3 * kLayers * kBytes, 8 * kByteAtNs, 8 * kByteAtNs), 20 * kBytes);
    return simulate(builder.script(), tiers, make_next_use_policy()).times;
  };
  const auto at_step = play(/*early=*/false), early = play(/*early=*/true);
  CATCH_CHECK(at_step.step_ns > at_step.slowest_ns() * 13 / 10);
  CATCH_CHECK(early.step_ns < at_step.step_ns * 85 / 100);
  CATCH_CHECK(early.update_ns < at_step.update_ns / 2);
  CATCH_CHECK(early.busy(Edge::kNvmeRead) <= at_step.busy(Edge::kNvmeRead) * 11 / 10);
}

// ---- of any script

std::shared_ptr<const EvictionPolicy> policy_for(int round) {
  switch (round % 4) {
    case 0: return make_next_use_policy();
    case 1: return make_lru_policy();
    case 2: return make_fifo_policy();
    default: return make_static_policy();
  }
}

struct Drawn {
  PassScript script;
  SimulatedTiers tiers;
  std::shared_ptr<const EvictionPolicy> policy;
};

Drawn draw(std::mt19937_64& random, int round) {
  Drawn drawn{draw_script(random), draw_tiers(random), policy_for(round)};
  for (auto& actor : drawn.script.actors)
    if (drawn.tiers.levels.size() < 3 && std::exchange(actor.there[2], false)) actor.there[1] = true;
  return drawn;
}

void draw_rates(std::mt19937_64& random, MoveRates& rates) {
  for (auto& edge : rates.edges) edge.bytes_per_second = kByteAtNs * static_cast<double>(1 + random() % 1000) / 250;
  rates.drive_is_shared = random() % 2 == 0;
}

CATCH_TEST_CASE("simulator: without rates a step takes what is computed", "[evict]") {
  std::mt19937_64 random(41);
  for (int round = 0; round < 500; ++round) {
    const auto drawn = draw(random, round);
    const auto result = simulate(drawn.script, drawn.tiers, drawn.policy);
    CATCH_REQUIRE(result.times.step_ns == result.times.work_ns());
    CATCH_REQUIRE(result.times.stalled_ns() == 0);
  }
}

CATCH_TEST_CASE("simulator: a step is work and waiting, and no shorter than its slowest resource", "[evict]") {
  // What starts in a step may end in the next, which need not be quite the same; what is put off, more so.
  constexpr double kCarried = 1.05, kCarriedLate = 1.25;
  std::mt19937_64 random(42);
  for (int round = 0; round < 500; ++round) {
    auto drawn = draw(random, round);
    draw_rates(random, drawn.tiers.rates);
    drawn.tiers.puts_off_updates = random() % 2 == 0;
    const auto result = simulate(drawn.script, drawn.tiers, drawn.policy);
    CATCH_REQUIRE(result.times.step_ns == result.times.work_ns() + result.times.stalled_ns());
    const double carried = drawn.tiers.puts_off_updates ? kCarriedLate : kCarried;
    CATCH_REQUIRE(carried * static_cast<double>(result.times.step_ns) >=
                  static_cast<double>(result.times.slowest_ns()));
  }
}

CATCH_TEST_CASE("simulator: twice the rates never make a step slower", "[evict]") {
  std::mt19937_64 random(43);
  int num_faster = 0;
  for (int round = 0; round < 500; ++round) {
    auto drawn = draw(random, round);
    draw_rates(random, drawn.tiers.rates);
    const auto before = simulate(drawn.script, drawn.tiers, drawn.policy);
    for (auto& edge : drawn.tiers.rates.edges) edge.bytes_per_second *= 2;
    const auto after = simulate(drawn.script, drawn.tiers, drawn.policy);
    CATCH_REQUIRE(after.times.step_ns <= before.times.step_ns);
    num_faster += after.times.step_ns < before.times.step_ns;
  }
  CATCH_CHECK(num_faster > 250);
}

}  // namespace
}  // namespace asterias::evict::tests
