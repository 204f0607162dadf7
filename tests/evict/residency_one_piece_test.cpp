// Residency on an accelerator's memory: one piece, in which room must be in one place, and streams that the host does
// not wait for.
#include <atomic>
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
