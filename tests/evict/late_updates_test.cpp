#include "evict/late_updates.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

// Chunks of a parameter, its gradient and its state, a page each, and steps whose updates write what can be told apart.
class Training {
 private:
  Rig& rig_;
  const Access param_access_;

 public:
  // `param_access` is the update's.
  Training(Rig& rig, std::size_t num_chunks, Access param_access = Access::kWrite)
      : rig_(rig), param_access_(param_access) {
    for (std::size_t place = 0; place < num_chunks; ++place) {
      auto& chunk = chunks_.emplace_back();
      chunk.param = rig.make_chunk();
      chunk.grad = rig.make_chunk(1, chunk::ListKind::kGrad);
      chunk.state = rig.make_chunk(1, chunk::ListKind::kExpAvg);
      chunk.tenant = std::make_shared<Pointer>();
      rig.residency->add_tenant(chunk.param, chunk.tenant.get());
      rig.write(chunk.param, place + 1, Tier::kCpu);
      chunk.version = place + 1;
    }
  }

  struct Chunk {
    Resident *param, *grad, *state;
    std::shared_ptr<Pointer> tenant;                                 // of param
    std::uint64_t version = 0, grad_version = 0, state_version = 0;  // that they hold, once all is computed
  };
  Chunk& chunk(std::size_t place) { return chunks_[place]; }
  const std::vector<Chunk>& chunks() const { return chunks_; }

  void forward(bool advances = false) {
    rig_.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(7); });
    for (std::size_t place = 0; place < chunks_.size(); ++place) {
      if (advances) late.advance();
      rig_.residency->begin_operator("forward", place);
      CATCH_CHECK(rig_.reads(chunks_[place].param, chunks_[place].version));
    }
  }

  void backward() {
    for (std::size_t place = chunks_.size(); place-- > 0;) {
      rig_.residency->begin_operator("backward", 100 + place);
      chunks_[place].grad_version = ++num_versions_;
      rig_.write(chunks_[place].grad, chunks_[place].grad_version);
    }
    rig_.residency->with_timeline([](Timeline& timeline) { timeline.end_pass(); });
  }

  // Returns how many updates are late.
  std::size_t step(bool puts_off = true) {
    late.catch_up();
    std::vector<UpdatePipeline::Lists> lists;
    for (const auto& chunk : chunks_)
      lists.push_back({{chunk.state, Access::kWrite}, {chunk.grad, Access::kRead}, {chunk.param, param_access_}});
    for (auto& chunk : chunks_) {
      before_.push_back(chunk);
      chunk.version = ++num_versions_;
      chunk.state_version = ++num_versions_;
    }
    before_.erase(before_.begin(), before_.end() - static_cast<std::ptrdiff_t>(chunks_.size()));
    std::size_t num_late = 0;
    UpdatePipeline(*rig_.residency, 9)
        .run(
            lists,
            [&](std::size_t place) {
              const bool is_late = puts_off && late.put_off(place, lists[place]);
              num_late += is_late;
              return is_late;
            },
            [&](std::size_t place, Tier) { update(place); });
    rig_.check_books();
    return num_late;
  }

  // Until what is to come is known.
  void warm_up() {
    for (int i = 0; i < 3; ++i) {
      forward();
      backward();
      CATCH_CHECK(step(/*puts_off=*/i == 0) == 0);  // nothing is foretold of the first
    }
  }

  // One more step, to where updates are late.
  void put_off() {
    warm_up();
    forward();
    backward();
    CATCH_REQUIRE(step() > 0);
  }
  std::size_t first_late() const {
    for (std::size_t place = 0; place < chunks_.size(); ++place)
      if (late.is_late(place)) return place;
    CATCH_FAIL("nothing is late");
    return 0;
  }

  bool holds(std::size_t place) {
    const auto& chunk = chunks_[place];
    return rig_.reads(chunk.state, chunk.state_version) && rig_.reads(chunk.grad, chunk.grad_version) &&
           rig_.reads(chunk.param, chunk.version);
  }

  LateUpdates late{*rig_.residency, [this](std::size_t place) { update(place); }};
  std::function<void()> while_updating = [] {};

 private:
  void update(std::size_t place) {
    const Chunk& chunk = chunks_[place];
    const auto at = [&](const Resident* list) { return rig_.residency->address(list, Tier::kCpu); };
    if (param_access_ == Access::kWrite) rig_.expect(Tier::kCpu, at(chunk.param), kPage, before_[place].version);
    rig_.expect(Tier::kCpu, at(chunk.state), kPage, before_[place].state_version);
    rig_.expect(Tier::kCpu, at(chunk.grad), kPage, before_[place].grad_version);
    while_updating();
    write_version(at(chunk.param), kPage, chunk.version);
    write_version(at(chunk.state), kPage, chunk.state_version);
  }

  std::vector<Chunk> chunks_, before_;  // now, and what the present update reads
  std::uint64_t num_versions_ = 100;
};

constexpr std::size_t kChunks = 6;
constexpr Pages kTight{8, 6, 64};

Rig tight_rig(Memory memory = Memory::kPages, int look_ahead = 2) {
  return Rig(kTight, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, memory, look_ahead);
}

CATCH_TEST_CASE("late updates: nobody sees that an update is late", "[evict]") {
  for (const auto memory : {Memory::kPages, Memory::kOnePiece, Memory::kCard})
    for (const int look_ahead : {1, 2, 8})
      for (const bool advances : {false, true})
        for (const std::uint64_t cpu_pages : {5, 6, 9}) {
          CATCH_CAPTURE(static_cast<int>(memory), look_ahead, advances, cpu_pages);
          Rig rig({8, cpu_pages, 64}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, memory, look_ahead);
          Training training(rig, kChunks);
          training.warm_up();
          std::size_t num_late = 0;
          for (int i = 0; i < 6; ++i) {
            training.forward(advances);
            training.backward();
            num_late += training.step();
            if (i % 2)
              for (std::size_t place = kChunks; place-- > 0;) CATCH_CHECK(training.holds(place));
          }
          CATCH_CHECK(num_late > 0);
          training.late.catch_up();
          for (std::size_t place = 0; place < kChunks; ++place) CATCH_CHECK_FALSE(training.late.is_late(place));
          rig.await_card();
          rig.check_books();
          CATCH_CHECK(rig.num_wrong == 0);
        }
}

CATCH_TEST_CASE("late updates: whichever list is used first, it is what it should be", "[evict]") {
  for (int list = 0; list < 3; ++list) {
    CATCH_CAPTURE(list);
    Rig rig = tight_rig();
    Training training(rig, kChunks);
    training.put_off();
    const std::size_t place = training.first_late();
    const auto& chunk = training.chunk(place);
    if (list == 0) CATCH_CHECK(rig.reads(chunk.state, chunk.state_version, Tier::kCpu));
    if (list == 1) CATCH_CHECK(rig.reads(chunk.grad, chunk.grad_version));
    if (list == 2) rig.write(chunk.param, 7);  // over what the update makes of it
    CATCH_CHECK_FALSE(training.late.is_late(place));
    CATCH_CHECK(rig.reads(chunk.param, list == 2 ? 7 : chunk.version));
    CATCH_CHECK(rig.reads(chunk.state, chunk.state_version));
    CATCH_CHECK(rig.num_wrong == 0);
  }
}

CATCH_TEST_CASE("late updates: nobody points at what is old", "[evict]") {
  Rig rig = tight_rig();
  Training training(rig, kChunks);
  training.put_off();
  std::size_t num_late = 0;
  for (std::size_t place = 0; place < kChunks; ++place) {
    if (!training.late.is_late(place)) continue;
    ++num_late;
    const auto chunk = training.chunk(place);
    CATCH_CHECK(chunk.tenant->at() == nullptr);
    Pointer another(chunk.tenant->at());
    rig.residency->add_tenant(chunk.param, &another);
    CATCH_CHECK(another.at() == nullptr);
    CATCH_CHECK(rig.reads(chunk.param, chunk.version));
    CATCH_REQUIRE(chunk.tenant->at() != nullptr);
    CATCH_CHECK(holds_version(another.at(), kPage, chunk.version));
    rig.residency->remove_tenant(chunk.param, &another);
  }
  CATCH_CHECK(num_late > 0);
}

// Parameters that are rounded anew from their masters, as 16-bit ones are.
CATCH_TEST_CASE("late updates: what will be overwritten takes no room, and nobody sees that", "[evict]") {
  Rig rig = tight_rig();
  Training training(rig, kChunks, Access::kOverwrite);
  training.put_off();
  const std::size_t place = training.first_late();
  const auto chunk = training.chunk(place);
  for (const Tier tier : rig.residency->hierarchy().levels())
    CATCH_CHECK(rig.state(chunk.param, tier) == CopyState::kAbsent);
  rig.check_books();
  for (std::size_t each = 0; each < kChunks; ++each) CATCH_CHECK(training.holds(each));
  CATCH_CHECK(rig.num_wrong == 0);
}

// As budgets are judged, for updates without activations beside them.
CATCH_TEST_CASE("late updates: where memory may not suffice for what is kept, nothing is late", "[evict]") {
  std::size_t num_late = 0;
  for (const std::uint64_t cpu_pages : {13, 14, 40}) {
    CATCH_CAPTURE(cpu_pages);
    Rig rig({6, cpu_pages, 0}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, 2);
    Training training(rig, kChunks);
    training.warm_up();
    for (int i = 0; i < 4; ++i) {
      training.forward();
      training.backward();
      const std::size_t now_late = training.step();
      if (cpu_pages < 40) CATCH_CHECK(now_late == 0);
      num_late += now_late;
    }
    CATCH_CHECK(rig.num_wrong == 0);
  }
  CATCH_CHECK(num_late > 0);
}

CATCH_TEST_CASE("late updates: a gradient that is forgotten has been used first", "[evict]") {
  Rig rig = tight_rig();
  Training training(rig, kChunks);
  training.put_off();
  const std::size_t place = training.first_late();
  rig.residency->forget(training.chunk(place).grad);
  CATCH_CHECK(training.late.is_late(place));
  CATCH_CHECK(rig.reads(training.chunk(place).param, training.chunk(place).version));
  CATCH_CHECK(rig.num_wrong == 0);
  CATCH_CHECK(rig.reads(training.chunk(place).grad, 0));
  rig.check_books();
}

CATCH_TEST_CASE("late updates: what finds no room stays late", "[evict]") {
  Rig rig = tight_rig();
  Training training(rig, kChunks);
  training.put_off();
  const std::size_t place = training.first_late();
  const auto& chunk = training.chunk(place);
  std::vector<chunk::Block> others;
  for (int page = 0; page < 4; ++page) others.push_back(rig.residency->allocate(kPage, Tier::kCpu));
  CATCH_CHECK_THROWS_AS(rig.reads(chunk.param, chunk.version), OutOfMemory);
  CATCH_CHECK_THROWS_AS(training.late.catch_up(), OutOfMemory);
  CATCH_CHECK(training.late.is_late(place));
  CATCH_CHECK_FALSE(rig.residency->is_pinned(chunk.param));
  others.clear();
  CATCH_CHECK(rig.reads(chunk.param, chunk.version));
  CATCH_CHECK(rig.num_wrong == 0);
  rig.check_books();
}

CATCH_TEST_CASE("late updates: what is there, or held, is updated at once", "[evict]") {
  {
    Rig rig({32, 64, 0}, nullptr, make_next_use_policy(), ActivationPlacement::kAuto, Memory::kPages, 2);
    Training training(rig, kChunks);
    training.warm_up();
    training.forward();
    training.backward();
    for (std::size_t place = 0; place < kChunks; ++place) {
      CATCH_CHECK(rig.reads(training.chunk(place).param, training.chunk(place).version, Tier::kCpu));
      CATCH_CHECK(rig.reads(training.chunk(place).grad, training.chunk(place).grad_version, Tier::kCpu));
    }
    CATCH_CHECK(training.step() == 0);
  }
  Rig rig = tight_rig();
  Training training(rig, kChunks);
  training.put_off();
  const std::size_t place = training.first_late();
  const Want held{training.chunk(place).state, Access::kRead};
  UpdatePipeline::Lists lists{{training.chunk(place).state, Access::kWrite},
                              {training.chunk(place).param, Access::kWrite}};
  rig.residency->acquire({&held, 1}, Tier::kCpu);
  CATCH_CHECK_FALSE(training.late.put_off(place, lists));
  rig.residency->release({&held, 1}, Tier::kCpu);
}

CATCH_TEST_CASE("late updates: what they need comes by itself", "[evict]") {
  Rig rig = tight_rig();
  Training training(rig, kChunks);
  training.put_off();
  const std::size_t place = training.first_late();
  Resident* another = rig.make_chunk();
  rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(7); });
  for (int tries = 0; training.late.is_late(place) && tries < 30'000; ++tries) {
    CATCH_CHECK(rig.reads(another, 0));  // which runs ahead
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    training.late.advance();
  }
  CATCH_CHECK_FALSE(training.late.is_late(place));
  CATCH_CHECK(rig.num_wrong == 0);
}

CATCH_TEST_CASE("late updates: what is given up has never been computed", "[evict]") {
  Rig rig = tight_rig();
  std::optional<Training> training(std::in_place, rig, kChunks);
  training->put_off();
  const std::size_t place = training->first_late();
  const auto chunks = training->chunks();  // with their tenants
  const auto& chunk = chunks[place];
  training.reset();
  CATCH_CHECK_FALSE(rig.reads(chunk.param, chunk.version));
  CATCH_CHECK(rig.reads(chunk.grad, chunk.grad_version));
  rig.check_books();
}

// The second thread asks for the state while the first has the update computed for the parameters.
CATCH_TEST_CASE("late updates: another thread that needs one waits for it", "[evict]") {
  Rig rig = tight_rig();
  Training training(rig, kChunks);
  training.put_off();
  const auto chunk = training.chunk(training.first_late());
  std::atomic<bool> is_updating = false;
  bool was_right = false;
  training.while_updating = [&] {
    is_updating = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  };
  std::thread other([&] {
    while (!is_updating) std::this_thread::yield();
    const Want want{chunk.state, Access::kRead};
    rig.residency->acquire({&want, 1}, Tier::kCpu);
    was_right = holds_version(rig.residency->address(chunk.state, Tier::kCpu), kPage, chunk.state_version);
    rig.residency->release({&want, 1}, Tier::kCpu);
  });
  CATCH_CHECK(rig.reads(chunk.param, chunk.version));
  other.join();
  CATCH_CHECK(was_right);
  CATCH_CHECK(rig.num_wrong == 0);
}

}  // namespace
}  // namespace asterias::evict::tests
