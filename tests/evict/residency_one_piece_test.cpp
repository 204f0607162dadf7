// Residency on an accelerator's memory: one piece, in which room must be in one place, and streams that the host does
// not wait for.
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

constexpr auto kRead = Access::kRead;

// Fills the gpu tier with chunks of one page each, from its low end on.
std::vector<Resident*> fill_gpu(Rig& rig, std::uint64_t pages) {
  std::vector<Resident*> chunks;
  for (std::uint64_t i = 0; i < pages; ++i) {
    chunks.push_back(rig.make_chunk());
    rig.write(chunks.back(), 10 + i);
  }
  return chunks;
}

void check_all(Rig& rig, const std::vector<Resident*>& chunks) {
  for (std::size_t i = 0; i < chunks.size(); ++i) CATCH_CHECK(rig.reads(chunks[i], 10 + i));
  CATCH_CHECK(rig.num_wrong == 0);
  CATCH_CHECK(rig.card_calls.order.num_races() == 0);
}

Resident* make_chunk_below(Rig& rig, std::uint64_t version) {
  auto* chunk = rig.make_chunk();
  rig.write(chunk, version, Tier::kCpu);
  return chunk;
}

// Enqueues an operator that reads the resident.
void enqueue_reader(Rig& rig, Resident* chunk, std::uint64_t version) {
  const auto held = rig.acquire({{chunk, kRead}});
  rig.expect(Tier::kGpu, rig.residency->address(chunk, Tier::kGpu), chunk->bytes, version);
  rig.residency->release(held, Tier::kGpu);
}

// Say whether the card, as far as it is not held, has brought the chunk up, or has written it down.
bool has_come(Rig& rig, const Resident* chunk) {
  const auto& reader = chunk->on(Tier::kCpu).reader;
  return !reader || rig.is_reached(*reader);
}
bool has_left(Rig& rig, const Resident* chunk) { return !chunk->move || rig.is_reached(chunk->move->ticket); }

// Enqueues work that takes room on the card and writes it, and says when it has run.
struct Newcomer {
  const char* what;
  std::function<chunk::Block(Rig&)> come;
};

std::vector<Newcomer> newcomers_that_compute() {
  const auto write = [](Rig& rig, Access access) {
    rig.write(rig.make_chunk(), 77, Tier::kGpu, access);
    return chunk::Block();
  };
  return {{"a tensor",
           [](Rig& rig) {
             auto block = rig.residency->allocate(kPage, Tier::kGpu);
             rig.put(Tier::kGpu, block.data(), kPage, 77);
             return block;
           }},
          {"a chunk that is overwritten", [=](Rig& rig) { return write(rig, Access::kOverwrite); }},
          {"a blank chunk", [=](Rig& rig) { return write(rig, Access::kWrite); }}};
}

// What rises and comes down again, is written on the host, and is made and ended, as in a training's step.
void take_a_step(Rig& rig, const std::vector<Resident*>& chunks, std::uint64_t step) {
  Pointer pointers[3];
  std::vector<Resident*> activations;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const auto held = rig.acquire({{chunks[i], kRead}});
    rig.expect(Tier::kGpu, rig.residency->address(chunks[i], Tier::kGpu), chunks[i]->bytes, 100 * step + i);
    rig.residency->release(held, Tier::kGpu);
    if (i < 3) {
      auto block = rig.residency->allocate((1 + i) * kPage, Tier::kGpu);
      rig.run(Tier::kGpu, [at = block.data(), i] { write_version(at, (1 + i) * kPage, 7 + i); });
      activations.push_back(rig.residency->adopt(std::move(block), &pointers[i]));
    }
    const auto of_torch = rig.residency->allocate(2 * kPage, Tier::kCpu);
    CATCH_CHECK_FALSE(rig.card_calls.is_registered(of_torch.data()));
  }
  rig.residency->evict_all();
  for (std::size_t i = 0; i < activations.size(); ++i) {
    CATCH_CHECK(rig.reads(activations[i], 7 + i));
    rig.residency->remove_tenant(activations[i], &pointers[i]);
  }
  for (std::size_t i = 0; i < chunks.size(); ++i)
    rig.write(chunks[i], 100 * (step + 1) + i, Tier::kCpu, i % 2 ? Access::kWrite : Access::kOverwrite);
  do rig.residency->begin_operator("the next step", 1);
  while (rig.residency->lingering_bytes(Tier::kCpu) > 0);
}

}  // namespace

// The card does nothing at all until the end: whoever waited for it would wait for ever.
CATCH_TEST_CASE("residency on a card: the host waits for no fetch and no eviction", "[evict]") {
  Rig rig({2, 32, 0}, Memory::kCard);
  std::vector<Resident*> chunks;
  for (std::uint64_t i = 0; i < 12; ++i) {
    chunks.push_back(rig.make_chunk());
    rig.write(chunks[i], 10 + i, Tier::kCpu);
  }
  std::vector<chunk::Block> blocks;
  rig.card_calls.hold_all();
  for (std::uint64_t i = 0; i < chunks.size(); ++i) {
    const bool writes = i % 2;
    const auto held = rig.acquire({{chunks[i], writes ? Access::kWrite : kRead}});
    auto* payload = rig.residency->address(chunks[i], Tier::kGpu);
    rig.expect(Tier::kGpu, payload, kPage, 10 + i);
    if (writes) rig.put(Tier::kGpu, payload, kPage, 100 + i);
    rig.residency->release(held, Tier::kGpu);
    if (i % 3 == 0) rig.residency->allocate(kPage, Tier::kGpu);
  }
  CATCH_CHECK(rig.residency->stats().evictions_dirty >= 4);
  CATCH_CHECK(rig.residency->lingering_bytes(Tier::kCpu) > 0);
  rig.card_calls.release_all();
  for (std::uint64_t i = 0; i < chunks.size(); ++i) CATCH_CHECK(rig.reads(chunks[i], i % 2 ? 100 + i : 10 + i));
  CATCH_CHECK(rig.num_wrong == 0);
  rig.check_books();
}

CATCH_TEST_CASE("residency on a card: what runs now does not hold up what leaves that was used before", "[evict]") {
  Rig rig({2, 8, 0}, Memory::kCard);
  rig.gpu->set_poison(false);  // the compute stream would write it
  auto chunks = fill_gpu(rig, 2);
  chunks.push_back(make_chunk_below(rig, 12));
  rig.await_card();
  rig.card_calls.hold(rig.card->compute().handle());
  enqueue_reader(rig, chunks[1], 11);
  enqueue_reader(rig, chunks[2], 12);
  CATCH_CHECK(has_left(rig, chunks[0]));
  CATCH_CHECK(has_come(rig, chunks[2]));
  rig.card_calls.release_all();
  check_all(rig, chunks);
}

CATCH_TEST_CASE("residency on a card: what leaves, and who comes into its room, waits for its last use", "[evict]") {
  Rig rig({2, 8, 0}, Memory::kCard);
  rig.gpu->set_poison(false);
  auto chunks = fill_gpu(rig, 2);
  chunks.push_back(make_chunk_below(rig, 12));
  rig.await_card();
  rig.card_calls.hold(rig.card->compute().handle());
  enqueue_reader(rig, chunks[0], 10);
  enqueue_reader(rig, chunks[1], 11);
  enqueue_reader(rig, chunks[2], 12);
  CATCH_CHECK_FALSE(has_left(rig, chunks[0]));
  CATCH_CHECK_FALSE(has_come(rig, chunks[2]));
  rig.card_calls.release_all();
  CATCH_CHECK(has_come(rig, chunks[2]));
  check_all(rig, chunks);
}

CATCH_TEST_CASE("residency on a card: nothing is computed in room that a copy still reads", "[evict]") {
  for (const bool poison : {false, true})
    for (const Newcomer& newcomer : newcomers_that_compute()) {
      CATCH_CAPTURE(poison, newcomer.what);
      Rig rig({1, 8, 0}, Memory::kCard);
      rig.gpu->set_poison(poison);
      const auto chunks = fill_gpu(rig, 1);
      rig.await_card();
      const auto to_host = rig.card_calls.streams()[2];
      rig.card_calls.hold(to_host);
      std::atomic<bool> has_run{false};
      auto block = newcomer.come(rig);
      rig.run(Tier::kGpu, [&] { has_run = true; });
      rig.card_calls.settle();
      CATCH_CHECK_FALSE(has_run);
      rig.card_calls.release(to_host);
      rig.await_card();
      CATCH_CHECK(has_run);
      block = chunk::Block();
      check_all(rig, chunks);
    }
}

CATCH_TEST_CASE("residency on a card: nothing is copied into room that a copy still reads", "[evict]") {
  for (const bool poison : {false, true}) {
    Rig rig({1, 8, 0}, Memory::kCard);
    rig.gpu->set_poison(poison);
    auto chunks = fill_gpu(rig, 1);
    chunks.push_back(make_chunk_below(rig, 11));
    rig.await_card();
    const auto to_host = rig.card_calls.streams()[2];
    rig.card_calls.hold(to_host);
    enqueue_reader(rig, chunks[1], 11);
    CATCH_CHECK_FALSE(has_come(rig, chunks[1]));
    rig.card_calls.release(to_host);
    CATCH_CHECK(has_come(rig, chunks[1]));
    check_all(rig, chunks);
  }
}

// Whose last use is known is waited for no longer than that; a tensor of torch's may be in use until it dies.
CATCH_TEST_CASE("residency on a card: room that is let go of is fetched into after its last use", "[evict]") {
  struct Way {
    const char* what;
    bool is_known;
    std::function<std::function<void()>(Rig&)> use;  // returns what lets go
  };
  const auto read_clean = [](Rig& rig) {
    auto* chunk = make_chunk_below(rig, 7);
    enqueue_reader(rig, chunk, 7);
    return chunk;
  };
  const auto make_tensor = [](Rig& rig) {
    auto block = rig.residency->allocate(kPage, Tier::kGpu);
    rig.put(Tier::kGpu, block.data(), kPage, 7);
    return block;
  };
  Pointer pointer;
  const std::vector<Way> ways = {
      {"a clean copy", true,
       [&](Rig& rig) {
         read_clean(rig);
         return [] {};  // who comes drops it
       }},
      {"forgotten", true, [&](Rig& rig) { return [&rig, chunk = read_clean(rig)] { rig.residency->forget(chunk); }; }},
      {"an activation that dies", true,
       [&](Rig& rig) {
         auto* activation = rig.residency->adopt(make_tensor(rig), &pointer);
         enqueue_reader(rig, activation, 7);
         return [&rig, &pointer, activation] { rig.residency->remove_tenant(activation, &pointer); };
       }},
      {"an activation that nobody has used", false,
       [&](Rig& rig) {
         auto* activation = rig.residency->adopt(make_tensor(rig), &pointer);
         return [&rig, &pointer, activation] { rig.residency->remove_tenant(activation, &pointer); };
       }},
      {"a tensor", false,
       [&](Rig& rig) {
         return [block = std::make_shared<chunk::Block>(make_tensor(rig))]() mutable { block.reset(); };
       }},
      {"surrendered", false, [&](Rig& rig) {
         auto* activation = rig.residency->adopt(make_tensor(rig), &pointer);
         enqueue_reader(rig, activation, 7);
         auto block = rig.residency->surrender(activation, Tier::kGpu);
         return [block = std::make_shared<chunk::Block>(std::move(block))]() mutable { block.reset(); };
       }}};
  for (const bool is_over : {false, true})
    for (const Way& way : ways) {
      CATCH_CAPTURE(way.what, is_over);
      Rig rig({1, 8, 0}, Memory::kCard);
      rig.gpu->set_poison(false);
      auto* next = make_chunk_below(rig, 5);
      if (!is_over) rig.card_calls.hold(rig.card->compute().handle());
      const auto let_go = way.use(rig);
      if (is_over) {
        rig.await_card();
        rig.card_calls.hold(rig.card->compute().handle());
        rig.run(Tier::kGpu, [] {});  // of others
      }
      let_go();
      enqueue_reader(rig, next, 5);
      CATCH_CHECK(has_come(rig, next) == (is_over && way.is_known));
      rig.card_calls.release_all();
      rig.await_card();
      CATCH_CHECK(rig.num_wrong == 0);
      CATCH_CHECK(rig.card_calls.order.num_races() == 0);
    }
}

CATCH_TEST_CASE("residency on a card: what is pinned, or was just made, is copied after all that may use it",
                "[evict]") {
  Rig rig({2, 8, 0}, Memory::kCard);
  const auto chunks = fill_gpu(rig, 1);
  rig.await_card();
  const auto held = rig.acquire({{chunks[0], Access::kWrite}});
  CATCH_CHECK(rig.reads(chunks[0], 10));  // another's pin, which ends before
  rig.put(Tier::kGpu, rig.residency->address(chunks[0], Tier::kGpu), kPage, 20);
  CATCH_CHECK(rig.reads(chunks[0], 20, Tier::kCpu));
  rig.residency->release(held, Tier::kGpu);
  CATCH_CHECK(rig.reads(chunks[0], 20));

  Pointer pointer;
  auto block = rig.residency->allocate(kPage, Tier::kGpu);
  rig.put(Tier::kGpu, block.data(), kPage, 21);
  auto* activation = rig.residency->adopt(std::move(block), &pointer);
  rig.empty_compute_tier();
  CATCH_CHECK(rig.reads(activation, 21, Tier::kCpu));
  rig.residency->remove_tenant(activation, &pointer);
  CATCH_CHECK(rig.num_wrong == 0);
  CATCH_CHECK(rig.card_calls.order.num_races() == 0);
}

CATCH_TEST_CASE("residency on a card: who writes on the host waits for the fetch that reads there", "[evict]") {
  Rig rig({2, 4, 0}, Memory::kCard);
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1, Tier::kCpu);
  for (std::uint64_t version = 2; version < 40; ++version) {
    const auto held = rig.acquire({{chunk, kRead}});
    rig.expect(Tier::kGpu, rig.residency->address(chunk, Tier::kGpu), kPage, version - 1);
    rig.residency->release(held, Tier::kGpu);
    rig.write(chunk, version, Tier::kCpu);
  }
  rig.await_card();
  CATCH_CHECK(rig.num_wrong == 0);
}

CATCH_TEST_CASE("residency on a card: who takes or writes bytes on the host waits for a fetch ahead that reads them",
                "[evict]") {
  for (const bool surrenders : {false, true}) {
    Rig rig({2, 4, 0}, Memory::kCard);
    Pointer pointer;
    auto* activation = rig.residency->adopt(rig.residency->allocate(kPage, Tier::kGpu), &pointer);
    rig.write(activation, 3);
    rig.empty_compute_tier();
    const auto up_link = rig.card_calls.streams()[1];
    rig.card_calls.hold(up_link);
    rig.residency->prefetch(activation, Tier::kGpu);
    const auto arrival = activation->move->ticket.points().at(0);
    std::atomic<bool> has_returned{false};
    std::thread releases([&] {  // long after who does not wait would have returned
      for (int i = 0; i < 10000 && !has_returned; ++i) std::this_thread::yield();
      rig.card_calls.release(up_link);
    });
    if (surrenders)
      CATCH_CHECK(rig.residency->surrender(activation, Tier::kCpu));
    else
      rig.residency->release(rig.acquire({{activation, Access::kWrite}}, Tier::kCpu), Tier::kCpu);
    CATCH_CHECK(arrival->reached());
    has_returned = true;
    releases.join();
  }
}

CATCH_TEST_CASE("residency on a card: a fetch that fails is the failure that is kept", "[evict][fault]") {
  Rig rig({2, 4, 0}, Memory::kCard);
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1, Tier::kCpu);
  rig.card_calls.hold_all();
  const auto held = rig.acquire({{chunk, kRead}});
  CATCH_CHECK_FALSE(rig.residency->failure());
  rig.card_calls.lose();
  rig.residency->release(held, Tier::kGpu);
  rig.write(chunk, 2, Tier::kCpu);  // the host's bytes are whole
  rig.residency->begin_operator("the next operator", 1);
  CATCH_REQUIRE(rig.residency->failure());
  CATCH_CHECK_THROWS_AS(std::rethrow_exception(rig.residency->failure()), CudaError);
}

CATCH_TEST_CASE("residency on a card: a tensor may die while the card is lost, its fetch under way", "[evict][fault]") {
  Rig rig({2, 4, 0}, Memory::kCard);
  Pointer pointer;
  auto* activation = rig.residency->adopt(rig.residency->allocate(kPage, Tier::kGpu), &pointer);
  rig.empty_compute_tier();
  rig.card_calls.hold_all();
  rig.residency->prefetch(activation, Tier::kGpu);
  rig.card_calls.lose();
  rig.residency->remove_tenant(activation, &pointer);
  CATCH_CHECK(rig.residency->num_residents() == 0);
  CATCH_CHECK(rig.residency->failure());
  rig.check_books();
}

CATCH_TEST_CASE("residency on a card: a move that a lost card does not take leaves no trace", "[evict][fault]") {
  Rig rig({2, 4, 0}, Memory::kCard);
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1, Tier::kCpu);
  rig.card_calls.lose();
  const Want want{chunk, kRead};
  CATCH_CHECK_THROWS_AS(rig.residency->acquire({&want, 1}, Tier::kGpu), CudaError);
  CATCH_CHECK(rig.state(chunk, Tier::kGpu) == CopyState::kAbsent);
  CATCH_CHECK(rig.residency->failure());
  rig.check_books();
  const auto held = rig.acquire({{chunk, kRead}}, Tier::kCpu);
  CATCH_CHECK(holds_version(rig.residency->address(chunk, Tier::kCpu), kPage, 1));
  rig.residency->release(held, Tier::kCpu);
}

CATCH_TEST_CASE("residency on a card: what is copied is pinned, and steps that repeat pin nothing more", "[evict]") {
  Rig rig({8, 40, 0}, Memory::kCard);
  std::vector<Resident*> chunks;
  for (std::uint64_t i = 0; i < 8; ++i) {
    chunks.push_back(rig.make_chunk(i % 2 ? 2 : 1));
    rig.write(chunks[i], i, Tier::kCpu);
  }
  auto* const state = rig.make_chunk(3);  // what the card never sees
  rig.write(state, 5, Tier::kCpu);
  for (std::uint64_t step = 0; step < 8; ++step) {
    take_a_step(rig, chunks, step);
    CATCH_CHECK(rig.card_calls.num_register_calls == 8 + 3);
  }
  CATCH_CHECK(rig.card_calls.num_pageable_copies == 0);
  const auto held = rig.acquire({{state, kRead}}, Tier::kCpu);
  CATCH_CHECK_FALSE(rig.card_calls.is_registered(rig.residency->address(state, Tier::kCpu)));
  rig.residency->release(held, Tier::kCpu);
  rig.await_card();
  CATCH_CHECK(rig.num_wrong == 0);
  rig.check_books();
}

CATCH_TEST_CASE("residency on a card: where nothing can be pinned, everything goes on without", "[evict][fault]") {
  const int num_pinned = GENERATE(0, 3);
  Rig rig({8, 40, 0}, Memory::kCard);
  rig.card_calls.most_registered = static_cast<std::size_t>(num_pinned);
  std::vector<Resident*> chunks;
  for (std::uint64_t i = 0; i < 8; ++i) {
    chunks.push_back(rig.make_chunk(i % 2 ? 2 : 1));
    rig.write(chunks[i], i, Tier::kCpu);
  }
  for (std::uint64_t step = 0; step < 4; ++step) take_a_step(rig, chunks, step);
  CATCH_CHECK(rig.card_calls.num_register_calls == num_pinned + 1);
  CATCH_CHECK(rig.card_calls.num_pageable_copies > 0);
  rig.await_card();
  CATCH_CHECK(rig.num_wrong == 0);
}

CATCH_TEST_CASE("residency in one piece: room that is not in one place is cleared where it costs least", "[evict]") {
  for (const Memory memory : {Memory::kOnePiece, Memory::kCard}) {
    Rig rig({6, 16, 0}, memory);
    const auto chunks = fill_gpu(rig, 6);
    const auto held = rig.acquire({{chunks[1], kRead}});
    for (const std::size_t at : {0, 2, 4}) CATCH_CHECK(rig.reads(chunks[at], 10 + at, Tier::kCpu));  // clean now
    const auto before = rig.residency->stats();
    const auto block = rig.residency->allocate(2 * kPage, Tier::kGpu);
    CATCH_CHECK(block);
    CATCH_CHECK(rig.residency->stats().evictions_dirty - before.evictions_dirty <= 1);
    CATCH_CHECK(rig.state(chunks[1], Tier::kGpu) == CopyState::kCurrent);
    rig.check_books({2 * kPage, 0});
    rig.residency->release(held, Tier::kGpu);
    check_all(rig, chunks);
  }
}

CATCH_TEST_CASE("residency in one piece: without a place it says so, and nothing is lost", "[evict]") {
  Rig rig({6, 16, 0}, Memory::kOnePiece);
  const auto chunks = fill_gpu(rig, 6);
  const auto held = rig.acquire({{chunks[1], kRead}, {chunks[4], kRead}});
  try {
    rig.residency->allocate(3 * kPage, Tier::kGpu);
    CATCH_FAIL("there is no place for three pages");
  } catch (const OutOfMemory& error) {
    CATCH_CHECK(std::string(error.what()).find("no room in one place") != std::string::npos);
  }
  rig.check_books();
  CATCH_CHECK(rig.residency->allocate(2 * kPage, Tier::kGpu));
  rig.residency->release(held, Tier::kGpu);
  check_all(rig, chunks);
}

CATCH_TEST_CASE("residency in one piece: what lacks only a place is granted while measuring, and has one the next time",
                "[evict]") {
  for (const Memory memory : {Memory::kOnePiece, Memory::kCard}) {
    Rig rig({6, 16, 0}, memory);
    rig.residency->set_measuring(true, [](std::uint64_t) { return true; });
    const auto chunks = fill_gpu(rig, 6);
    Pointer pointer;
    const auto run_operator = [&] {
      rig.residency->begin_operator("an operator", 7);
      const auto held = rig.acquire({{chunks[2], kRead}});
      auto block = rig.residency->allocate(4 * kPage, Tier::kGpu);
      rig.residency->release(held, Tier::kGpu);
      return block;
    };
    {
      auto block = run_operator();
      CATCH_CHECK(block.is_besides());
      CATCH_CHECK_FALSE(rig.residency->is_refused());
      rig.put(Tier::kGpu, block.data(), 4 * kPage, 5);
      auto* activation = rig.residency->adopt(std::move(block), &pointer);
      rig.residency->set_measuring(false);
      CATCH_CHECK(rig.state(activation, Tier::kGpu) == CopyState::kAbsent);
      CATCH_CHECK(rig.reads(activation, 5, Tier::kCpu));
      rig.residency->reset_stats();
      rig.check_books();
      rig.residency->remove_tenant(activation, &pointer);
    }
    CATCH_CHECK_FALSE(run_operator().is_besides());
    rig.check_books();
    check_all(rig, chunks);
  }
}

}  // namespace asterias::evict::tests
