#include "evict/early_updates.hpp"

#include <chrono>
#include <thread>

#include <catch2/catch.hpp>

#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

// One chunk with a parameter that somebody points at, its state and its gradient, all on the cpu tier; versions 1 to 3.
struct Chunk {
  Rig& rig;
  const std::int64_t update_index;
  Pointer tenant;
  Resident* param = make(chunk::ListKind::kParam);
  Resident* grad = make(chunk::ListKind::kGrad);
  Resident* exp_avg = make(chunk::ListKind::kExpAvg);
  UpdatePipeline::Lists lists{{exp_avg, Access::kWrite}, {grad, Access::kRead}, {param, Access::kWrite}};

  explicit Chunk(Rig& on, std::int64_t at_place = -1) : rig(on), update_index(at_place) {
    rig.residency->add_tenant(param, &tenant);
    rig.write(param, 1, Tier::kCpu);
    rig.write(exp_avg, 2, Tier::kCpu);
    rig.write(grad, 3, Tier::kCpu);
  }

  Resident* make(chunk::ListKind list) { return rig.residency->make_chunk(list, kPage, update_index); }

  bool holds(std::uint64_t param_version, std::uint64_t exp_avg_version) {
    return rig.reads(param, param_version) && rig.reads(exp_avg, exp_avg_version) && rig.reads(grad, 3);
  }

  // Computes versions 11 and 12.
  bool compute(EarlyUpdates& early, std::size_t place = 0) {
    early.make_ready(place, lists);
    return advance(early);
  }
  bool advance(EarlyUpdates& early) {
    bool computed = false;
    early.advance([&](std::size_t) {
      computed = true;
      for (const auto& [list, version] : {std::pair{param, 11}, std::pair{exp_avg, 12}})
        write_version(rig.residency->address(list->shadow, Tier::kCpu), list->bytes,
                      static_cast<std::uint64_t>(version));
    });
    return computed;
  }
};

constexpr Pages kRoomy{16, 16, 32};

CATCH_TEST_CASE("early updates: what was computed shows when it is taken, and not before", "[evict]") {
  Rig rig(kRoomy);
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  CATCH_REQUIRE(chunk.compute(early));
  CATCH_CHECK_FALSE(early.is_pending());
  CATCH_CHECK(chunk.holds(1, 2));
  rig.check_books();
  CATCH_CHECK(early.take(0));
  CATCH_CHECK(rig.residency->num_residents() == 3);
  CATCH_CHECK(chunk.tenant.at() == nullptr);  // what lay on the compute tier is old
  CATCH_CHECK(chunk.holds(11, 12));
  CATCH_CHECK(chunk.tenant.at() != nullptr);
  rig.check_books();
  CATCH_CHECK_FALSE(early.take(0));
}

CATCH_TEST_CASE("early updates: what is discarded has never been", "[evict]") {
  Rig rig(kRoomy);
  Chunk chunk(rig);
  {
    EarlyUpdates early(*rig.residency);
    CATCH_REQUIRE(chunk.compute(early));
    CATCH_CHECK(rig.residency->num_residents() == 5);
    early.discard(0);
    CATCH_CHECK(rig.residency->num_residents() == 3);
    CATCH_CHECK_FALSE(early.take(0));
    CATCH_REQUIRE(chunk.compute(early));
  }
  CATCH_CHECK(rig.residency->num_residents() == 3);
  CATCH_CHECK(chunk.holds(1, 2));
  rig.check_books();
}

CATCH_TEST_CASE("early updates: who writes a list or a gradient in between is right", "[evict]") {
  for (const auto member : {&Chunk::param, &Chunk::exp_avg, &Chunk::grad}) {
    Rig rig(kRoomy);
    Chunk chunk(rig);
    EarlyUpdates early(*rig.residency);
    CATCH_REQUIRE(chunk.compute(early));
    rig.write(chunk.*member, 20);
    CATCH_CHECK_FALSE(early.take(0));
    CATCH_CHECK(rig.reads(chunk.*member, 20));
    CATCH_CHECK(rig.residency->num_residents() == 3);
    rig.check_books();
  }
}

CATCH_TEST_CASE("early updates: a gradient that is forgotten in between has not been used", "[evict]") {
  Rig rig(kRoomy);
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  CATCH_REQUIRE(chunk.compute(early));
  rig.residency->forget(chunk.grad);
  CATCH_CHECK_FALSE(early.take(0));
}

CATCH_TEST_CASE("early updates: a list that somebody has pinned is not taken from him", "[evict]") {
  Rig rig(kRoomy);
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  CATCH_REQUIRE(chunk.compute(early));
  const auto wants = rig.acquire({{chunk.param, Access::kRead}});
  const auto* before = chunk.tenant.at();
  CATCH_CHECK_FALSE(early.take(0));
  CATCH_CHECK(chunk.tenant.at() == before);
  rig.residency->release(wants, Tier::kGpu);
  CATCH_CHECK(chunk.holds(1, 2));
}

CATCH_TEST_CASE("early updates: what is pinned, away or without room is left to step()", "[evict]") {
  Rig rig(kRoomy);
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  const auto wants = rig.acquire({{chunk.grad, Access::kRead}}, Tier::kCpu);
  CATCH_CHECK_FALSE(chunk.compute(early));
  CATCH_CHECK(early.is_pending());
  rig.residency->release(wants, Tier::kCpu);
  CATCH_CHECK(chunk.compute(early));
  early.discard_all();

  rig.write(chunk.grad, 3, Tier::kGpu);  // its only copy is there
  CATCH_CHECK_FALSE(chunk.compute(early));
  CATCH_REQUIRE(rig.reads(chunk.grad, 3, Tier::kCpu));
  CATCH_CHECK(chunk.compute(early));
  early.discard_all();

  EarlyUpdates other(*rig.residency);
  const auto all = rig.residency->allocate(rig.cpu->limit_bytes() - rig.cpu->used_bytes() - kPage, Tier::kCpu);
  CATCH_CHECK_FALSE(chunk.compute(other));  // room for one shadow, not for two
  CATCH_CHECK(rig.residency->num_residents() == 3);
  CATCH_CHECK(chunk.holds(1, 2));
}

CATCH_TEST_CASE("early updates: who needs the room of shadows gets it", "[evict]") {
  Rig rig({16, 8, 0});
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  CATCH_REQUIRE(chunk.compute(early));
  const std::uint64_t free = rig.cpu->limit_bytes() - rig.cpu->used_bytes();
  {
    const auto block = rig.residency->allocate(free + kPage, Tier::kCpu);
    CATCH_CHECK(rig.residency->num_residents() == 4);
  }
  CATCH_CHECK_FALSE(early.take(0));
  CATCH_CHECK(rig.residency->num_residents() == 3);
  CATCH_CHECK(chunk.holds(1, 2));
  rig.check_books();
}

CATCH_TEST_CASE("early updates: shadows that go make room for several that leave the accelerator", "[evict]") {
  Rig rig({2, 5, 0});
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  CATCH_REQUIRE(chunk.compute(early));  // the cpu tier is full
  std::vector<Resident*> others;
  for (std::uint64_t version = 20; version < 22; ++version) {
    others.push_back(rig.make_chunk());
    rig.write(others.back(), version, Tier::kGpu);
  }
  {
    const auto all = rig.residency->allocate(2 * kPage, Tier::kGpu);
    CATCH_CHECK(rig.residency->num_residents() == 5);
    rig.check_books({2 * kPage, 0});
  }
  CATCH_CHECK(rig.reads(others[0], 20));
  CATCH_CHECK(rig.reads(others[1], 21));
  CATCH_CHECK_FALSE(early.take(0));
  CATCH_CHECK(chunk.holds(1, 2));
}

CATCH_TEST_CASE("early updates: shadows move as all residents do", "[evict]") {
  Rig rig({4, 6, 16});
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  CATCH_REQUIRE(chunk.compute(early));
  {
    const auto block = rig.residency->allocate(5 * kPage, Tier::kCpu);  // all but one page: they go to the drive
    CATCH_CHECK(rig.residency->num_residents() == 5);
    rig.check_books({0, 5 * kPage});
  }
  CATCH_CHECK(early.take(0));
  rig.check_books();
  CATCH_CHECK(chunk.holds(11, 12));
}

// Writes down a pass of two chunks, of which the gradients of the first alone are final before the last operator.
void script_pass(Rig& rig, const Chunk& first, const Chunk& second) {
  auto& residency = *rig.residency;
  residency.set_measuring(true, [](std::uint64_t) { return true; });
  residency.start_script();
  residency.with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
  residency.begin_operator("op", 1);
  rig.write(first.grad, 3, Tier::kCpu, Access::kOverwrite);
  residency.note_ready(first.param);
  residency.begin_operator("op", 2);
  rig.write(second.grad, 3, Tier::kCpu, Access::kOverwrite);
  residency.with_timeline([](Timeline& timeline) { timeline.end_pass(); });
  residency.set_measuring(false);
  residency.record_step_end(1);
}

CATCH_TEST_CASE("early updates: they take the room that is foretold, once that is kept to", "[evict]") {
  Rig rig(kRoomy, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, /*look_ahead=*/2);
  Chunk first(rig, 0), second(rig, 1);
  script_pass(rig, first, second);
  EarlyUpdates early(*rig.residency);
  CATCH_CHECK((first.compute(early, 0) && second.compute(early, 1)));
  CATCH_CHECK(rig.residency->stats().most_shadow_bytes == 4 * kPage);
  early.discard_all();

  rig.residency->keep_to_forecast({});
  CATCH_REQUIRE(rig.residency->simulate({})->most_shadow_bytes == 2 * kPage);
  rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
  rig.residency->begin_operator("op", 1);
  CATCH_CHECK(first.compute(early, 0));
  CATCH_CHECK_FALSE(second.compute(early, 1));
  const auto is_computed_in_time = [&] {
    for (int moment = 0; moment < 100; ++moment)
      if (second.advance(early)) return true;
    return false;
  };
  CATCH_CHECK_FALSE(is_computed_in_time());
  CATCH_CHECK(early.take(0));
  CATCH_CHECK(is_computed_in_time());
  CATCH_CHECK(early.take(1));
  CATCH_CHECK((first.holds(11, 12) && second.holds(11, 12)));

  rig.check_books();
}

CATCH_TEST_CASE("early updates: each way that shadows go gives the room for others back", "[evict]") {
  for (const int way : {0, 1, 2, 3}) {
    CATCH_CAPTURE(way);
    Rig rig({16, 16, 0}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, /*look_ahead=*/2);
    Chunk first(rig, 0), second(rig, 1);
    script_pass(rig, first, second);
    rig.residency->keep_to_forecast({});
    rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
    rig.residency->begin_operator("op", 1);
    EarlyUpdates early(*rig.residency);
    CATCH_REQUIRE(first.compute(early, 0));
    CATCH_REQUIRE_FALSE(second.compute(early, 1));
    if (way == 0) early.discard(0);
    if (way == 1) rig.write(first.grad, 4);
    if (way == 2) rig.residency->forget(first.exp_avg);
    if (way == 3) (void)rig.residency->allocate(rig.cpu->limit_bytes() - rig.cpu->used_bytes() + kPage, Tier::kCpu);
    CATCH_CHECK_FALSE(early.take(0));
    CATCH_CHECK(second.advance(early));
    rig.check_books();
  }
}

CATCH_TEST_CASE("early updates: what is foretold holds for steps like those written down", "[evict]") {
  Rig rig(kRoomy, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, /*look_ahead=*/2);
  Chunk first(rig, 0), second(rig, 1);
  script_pass(rig, first, second);
  rig.residency->keep_to_forecast({});
  rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
  EarlyUpdates early(*rig.residency);
  const auto are_both_computed = [&] {
    const bool are = first.compute(early, 0) && second.compute(early, 1);
    early.discard_all();
    return are;
  };
  rig.residency->begin_operator("op", 1);
  CATCH_CHECK_FALSE(are_both_computed());
  rig.residency->begin_operator("other", 99);
  CATCH_CHECK(are_both_computed());
  rig.residency->with_timeline([](Timeline& timeline) { timeline.end_pass(); });
  rig.residency->record_step_end(2);

  rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
  rig.residency->begin_operator("op", 1);
  CATCH_CHECK_FALSE(are_both_computed());
  rig.residency->set_update_tier(first.param, Tier::kGpu);  // another step, which nothing is known of
  CATCH_CHECK(are_both_computed());
  rig.residency->set_update_tier(first.param, Tier::kCpu);
  (void)rig.residency->forecast({});
  CATCH_CHECK_FALSE(are_both_computed());
}

// A step of one chunk that is foretold: two operators, then the update.
void play_step(Rig& rig, Chunk& chunk, const std::function<void()>& after_pass) {
  rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
  for (std::uint64_t at = 0; at < 2; ++at) {
    rig.residency->begin_operator("op", at);
    const std::vector<Want> wants{{chunk.param, Access::kRead}, {chunk.grad, at == 0 ? Access::kRead : Access::kWrite}};
    rig.residency->acquire(wants, Tier::kGpu);
    rig.residency->release(wants, Tier::kGpu);
  }
  after_pass();
  rig.residency->with_timeline([](Timeline& timeline) { timeline.end_pass(); });
  std::vector<UpdatePipeline::Lists> all{chunk.lists};
  UpdatePipeline(*rig.residency, 2)
      .run(
          all, [](std::size_t) { return false; }, [](std::size_t, Tier) {});
}

// A chunk whose state lies on the drive alone, in a pass that is foretold.
void put_state_on_drive(Rig& rig, Chunk& chunk) {
  const auto all = rig.residency->allocate(rig.cpu->limit_bytes(), Tier::kCpu);
  CATCH_REQUIRE(rig.state(chunk.exp_avg, Tier::kNvme) == CopyState::kCurrent);
}

CATCH_TEST_CASE("early updates: state is brought from the drive", "[evict]") {
  Rig rig({8, 8, 32}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, /*look_ahead=*/2);
  Chunk chunk(rig);
  EarlyUpdates early(*rig.residency);
  for (int step = 0; step < 2; ++step) play_step(rig, chunk, [] {});
  auto* other = rig.make_chunk();
  bool computed = false;
  play_step(rig, chunk, [&] {
    put_state_on_drive(rig, chunk);
    CATCH_CHECK_FALSE(chunk.compute(early));
    for (int at = 0; at < 30'000 && !computed; ++at) {  // as long as the drive's thread may need on a busy machine
      const auto wants = rig.acquire({{other, Access::kRead}}, Tier::kGpu);  // running ahead happens here
      rig.residency->release(wants, Tier::kGpu);
      computed = chunk.advance(early);
      if (!computed) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CATCH_CHECK(computed);
    CATCH_CHECK(chunk.holds(1, 2));
    CATCH_CHECK(early.take(0));
    CATCH_CHECK(chunk.holds(11, 12));
  });
  rig.check_books();
}

CATCH_TEST_CASE("early updates: what is there, or is blank, is not awaited", "[evict]") {
  Rig rig({8, 8, 32}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, /*look_ahead=*/2);
  Chunk chunk(rig);
  CATCH_CHECK_FALSE(rig.residency->await_for_shadows(chunk.lists));
  put_state_on_drive(rig, chunk);
  CATCH_CHECK(rig.residency->await_for_shadows(chunk.lists));
  rig.residency->drop_shadows(chunk.lists);
  rig.residency->forget(chunk.grad);
  CATCH_CHECK_FALSE(rig.residency->await_for_shadows(chunk.lists));
}

CATCH_TEST_CASE("early updates: lists that are forgotten, or end, are awaited no longer", "[evict]") {
  Rig rig({8, 8, 32}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, /*look_ahead=*/2);
  Chunk chunk(rig);
  Pointer tenant;
  auto* other = rig.make_chunk();
  auto* ending = rig.make_chunk(1, chunk::ListKind::kExpAvg);
  rig.residency->add_tenant(ending, &tenant);
  for (int step = 0; step < 2; ++step) play_step(rig, chunk, [] {});
  play_step(rig, chunk, [&] {
    rig.write(ending, 5, Tier::kCpu);
    put_state_on_drive(rig, chunk);
    CATCH_REQUIRE(rig.residency->await_for_shadows(UpdatePipeline::Lists{{ending, Access::kWrite}}));
    CATCH_REQUIRE(rig.residency->await_for_shadows(chunk.lists));
    rig.residency->retire(ending);
    rig.residency->remove_tenant(ending, &tenant);
    rig.residency->forget(chunk.exp_avg);
    rig.write(chunk.exp_avg, 6, Tier::kCpu);
    put_state_on_drive(rig, chunk);
    for (int at = 0; at < 10; ++at) CATCH_CHECK(rig.reads(other, 0, Tier::kGpu));  // running ahead happens here
    CATCH_CHECK(rig.reads(chunk.exp_avg, 6, Tier::kCpu));
  });
  rig.check_books();
}

}  // namespace
}  // namespace asterias::evict::tests
