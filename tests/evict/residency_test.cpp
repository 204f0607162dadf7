// What each call of Residency promises, one at a time. residency_walk_test.cpp mixes them.
#include "evict/residency.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "evict/hollow_tiers.hpp"
#include "tests/evict/residency_rig.hpp"

namespace asterias::evict::tests {
namespace {

constexpr auto kRead = Access::kRead;
constexpr auto kWrite = Access::kWrite;
constexpr auto kOverwrite = Access::kOverwrite;

CATCH_TEST_CASE("residency: a chunk is zeros until it is written", "[evict]") {
  Rig rig({0, 4, 4});
  auto* chunk = rig.make_chunk(2);
  CATCH_CHECK(rig.residency->resident_bytes(Tier::kCpu) == 0);
  CATCH_CHECK(rig.reads(chunk, 0));
  rig.write(chunk, 7);
  CATCH_CHECK(rig.reads(chunk, 7));
  rig.check_books();
}

CATCH_TEST_CASE("residency: bytes go down and come back, through the middle tier too", "[evict]") {
  for (const Pages pages : {Pages{0, 2, 8}, Pages{2, 2, 8}}) {
    Rig rig(pages);
    std::vector<Resident*> chunks;
    for (std::uint64_t i = 0; i < 6; ++i) {
      chunks.push_back(rig.make_chunk());
      rig.write(chunks.back(), 10 + i);
      rig.check_books();
    }
    CATCH_CHECK(rig.residency->resident_bytes(Tier::kNvme) > 0);
    for (int round = 0; round < 2; ++round)
      for (std::uint64_t i = 0; i < 6; ++i) {
        CATCH_CHECK(rig.reads(chunks[i], 10 + i));
        rig.check_books();
      }
  }
}

CATCH_TEST_CASE("residency: a clean copy leaves without a move", "[evict]") {
  Rig rig({0, 1, 4});
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  rig.write(a, 1);
  rig.write(b, 2);
  CATCH_CHECK(rig.reads(a, 1));
  const auto before = rig.residency->stats();
  CATCH_CHECK(rig.reads(b, 2));
  const auto after = rig.residency->stats();
  CATCH_CHECK(after.evictions_clean == before.evictions_clean + 1);
  CATCH_CHECK(after.moved(Edge::kNvmeWrite) == before.moved(Edge::kNvmeWrite));
  CATCH_CHECK(after.moved(Edge::kNvmeRead) == before.moved(Edge::kNvmeRead) + kPage);
}

CATCH_TEST_CASE("residency: a write makes every other copy absent", "[evict]") {
  Rig rig({2, 4, 4});
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1);
  CATCH_CHECK(rig.reads(chunk, 1, Tier::kCpu));
  CATCH_CHECK(rig.state(chunk, Tier::kGpu) == CopyState::kCurrent);
  rig.write(chunk, 2, Tier::kCpu);
  CATCH_CHECK(rig.state(chunk, Tier::kGpu) == CopyState::kAbsent);
  CATCH_CHECK(rig.reads(chunk, 2, Tier::kGpu));
  rig.write(chunk, 3, Tier::kCpu, kOverwrite);
  CATCH_CHECK(rig.state(chunk, Tier::kGpu) == CopyState::kAbsent);
  CATCH_CHECK(rig.reads(chunk, 3, Tier::kGpu));
  rig.check_books();
}

CATCH_TEST_CASE("residency: an overwriter's old bytes are not brought", "[evict]") {
  Rig rig({0, 1, 4});
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  rig.write(a, 1);
  rig.write(b, 2);
  const auto before = rig.residency->stats();
  rig.write(a, 3, {}, kOverwrite);
  CATCH_CHECK(rig.residency->stats().moved(Edge::kNvmeRead) == before.moved(Edge::kNvmeRead));
  CATCH_CHECK(rig.reads(a, 3));
}

CATCH_TEST_CASE("residency: a blank chunk is zero but for the bytes that its writer fills", "[evict]") {
  Rig rig({0, 3, 8});
  auto *chunk = rig.make_chunk(), *large = rig.make_chunk(3);
  // The room it gets was used before.
  rig.write(large, 7);
  rig.residency->forget(large);
  const Want want{chunk, Access::kWrite, 512, kPage - 1024};
  // Not granted: nobody has filled it, and it reads as zeros.
  CATCH_CHECK_THROWS_AS(rig.acquire({want, {large, Access::kWrite}}), OutOfMemory);
  rig.check_books();
  CATCH_CHECK(rig.reads(chunk, 0));
  rig.residency->forget(chunk);
  rig.acquire({want});
  std::byte* const bytes = rig.residency->address(chunk, Tier::kCpu);
  CATCH_CHECK(std::all_of(bytes, bytes + 512, [](std::byte byte) { return byte == std::byte{0}; }));
  CATCH_CHECK(std::all_of(bytes + kPage - 512, bytes + kPage, [](std::byte byte) { return byte == std::byte{0}; }));
  write_version(bytes, kPage, 2);
  rig.residency->release({&want, 1}, Tier::kCpu);
  rig.empty_compute_tier();
  CATCH_CHECK(rig.reads(chunk, 2));
  rig.check_books();
}

// A failing test once: the overwriter's uninitialised room counted as the newest bytes.
CATCH_TEST_CASE("residency: a failed acquire loses no bytes of what it would have overwritten", "[evict]") {
  for (const bool was_written : {false, true}) {
    Rig rig({0, 2, 8});
    auto *a = rig.make_chunk(), *large = rig.make_chunk(2);
    if (was_written) {
      rig.write(a, 1);
      rig.empty_compute_tier();
    }
    CATCH_CHECK_THROWS_AS(rig.acquire({{a, kOverwrite}, {large, kRead}}), OutOfMemory);
    rig.check_books();
    CATCH_CHECK(rig.residency->pinned_bytes(Tier::kCpu) == 0);
    CATCH_CHECK(rig.reads(a, was_written ? 1 : 0));
  }
}

CATCH_TEST_CASE("residency: tenants follow the bytes on the compute tier", "[evict]") {
  Rig rig({1, 2, 4});
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  Pointer early, late;
  rig.residency->add_tenant(a, &early);
  CATCH_CHECK(early.at() == nullptr);
  rig.write(a, 1);
  CATCH_CHECK(holds_version(early.at(), kPage, 1));
  rig.residency->add_tenant(a, &late);
  CATCH_CHECK(late.at() == early.at());
  rig.write(b, 2);
  CATCH_CHECK(early.at() == nullptr);
  CATCH_CHECK(late.at() == nullptr);
  CATCH_CHECK(rig.reads(a, 1, Tier::kCpu));
  CATCH_CHECK(early.at() == nullptr);  // the cpu is not where this run computes
  CATCH_CHECK(rig.residency->remove_tenant(a, &early) == 1);
  CATCH_CHECK(rig.reads(a, 1));
  CATCH_CHECK(early.at() == nullptr);
  CATCH_CHECK(late.at() != nullptr);
  CATCH_CHECK(rig.residency->remove_tenant(a, &late) == 0);
}

CATCH_TEST_CASE("residency: an activation dies with its last tenant, but not under a pin", "[evict]") {
  Rig rig({0, 4, 4});
  chunk::Block block = rig.residency->allocate(2 * kPage, Tier::kCpu);
  write_version(block.data(), 2 * kPage, 5);
  Pointer pointer(block.data()), second;
  auto* resident = rig.residency->adopt(std::move(block), &pointer);
  rig.residency->add_tenant(resident, &second);
  CATCH_CHECK(rig.residency->remove_tenant(resident, &pointer) == 1);
  const auto held = rig.acquire({{resident, kRead}, {resident, kWrite}});
  CATCH_CHECK(rig.residency->remove_tenant(resident, &second) == 0);
  CATCH_CHECK(rig.residency->num_residents() == 1);
  CATCH_CHECK(holds_version(rig.residency->address(resident, Tier::kCpu), 2 * kPage, 5));
  rig.check_books();
  rig.residency->release(held, Tier::kCpu);
  CATCH_CHECK(rig.residency->num_residents() == 0);
  CATCH_CHECK(rig.cpu->used_bytes() == 0);
}

CATCH_TEST_CASE("residency: an activation that has become a gradient counts as one wherever it lies", "[evict]") {
  Rig rig({0, 4, 4});
  chunk::Block block = rig.residency->allocate(2 * kPage, Tier::kCpu);
  Pointer pointer(block.data());
  auto* resident = rig.residency->adopt(std::move(block), &pointer);
  rig.write(resident, 5);
  const auto bytes = [&](Tier tier, ContentKind kind) {
    return rig.residency->content(tier)[static_cast<std::size_t>(kind)];
  };
  CATCH_CHECK(bytes(Tier::kCpu, ContentKind::kActivation) == 2 * kPage);
  for (int time = 0; time < 2; ++time) rig.residency->count_as_gradient(resident);
  CATCH_CHECK(bytes(Tier::kCpu, ContentKind::kActivation) == 0);
  CATCH_CHECK(bytes(Tier::kCpu, ContentKind::kGrad) == 2 * kPage);
  rig.check_books();
  rig.empty_compute_tier();
  CATCH_CHECK(bytes(Tier::kNvme, ContentKind::kGrad) == 2 * kPage);
  CATCH_CHECK(rig.reads(resident, 5));
  rig.check_books();
  rig.residency->remove_tenant(resident, &pointer);
  CATCH_CHECK(rig.residency->num_residents() == 0);
  CATCH_CHECK(bytes(Tier::kCpu, ContentKind::kGrad) == 0);
}

CATCH_TEST_CASE("residency: a chunk dies when it is retired and without tenants, in either order", "[evict]") {
  for (const bool retire_first : {false, true}) {
    Rig rig({0, 2, 2});
    auto* chunk = rig.make_chunk();
    Pointer pointer;
    rig.residency->add_tenant(chunk, &pointer);
    rig.write(chunk, 1);
    if (retire_first) rig.residency->retire(chunk);
    rig.residency->remove_tenant(chunk, &pointer);
    if (!retire_first) {
      CATCH_CHECK(rig.residency->num_residents() == 1);
      rig.residency->retire(chunk);
    }
    CATCH_CHECK(rig.residency->num_residents() == 0);
    rig.check_books();
  }
}

CATCH_TEST_CASE("residency: what is forgotten is zeros everywhere, and a pinned resident is not forgotten", "[evict]") {
  Rig rig({2, 2, 4});
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1);
  CATCH_CHECK(rig.reads(chunk, 1, Tier::kCpu));
  const auto held = rig.acquire({{chunk, kRead}});
  rig.residency->forget(chunk);
  rig.residency->release(held, Tier::kGpu);
  CATCH_CHECK(rig.reads(chunk, 1));
  rig.residency->forget(chunk);
  for (const Tier tier : {Tier::kGpu, Tier::kCpu}) CATCH_CHECK(rig.residency->resident_bytes(tier) == 0);
  CATCH_CHECK(rig.reads(chunk, 0));
  CATCH_CHECK(rig.reads(chunk, 0, Tier::kCpu));
  rig.check_books();
}

CATCH_TEST_CASE("residency: a surrendered payload is the only copy", "[evict]") {
  Rig rig({1, 2, 4});
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  Pointer pointer;
  rig.residency->add_tenant(a, &pointer);
  rig.write(a, 1);
  rig.write(b, 2);
  {
    const auto held = rig.acquire({{b, kRead}});
    CATCH_CHECK_FALSE(rig.residency->surrender(a, Tier::kGpu));  // no room
    rig.residency->release(held, Tier::kGpu);
    rig.check_books();
  }
  const chunk::Block block = rig.residency->surrender(a, Tier::kGpu);
  CATCH_REQUIRE(block);
  CATCH_CHECK(holds_version(block.data(), kPage, 1));
  CATCH_CHECK(rig.residency->num_residents() == 1);
  rig.check_books({kPage, 0});
  CATCH_CHECK(rig.reads(b, 2, Tier::kCpu));
}

CATCH_TEST_CASE("residency: a write where others are pinned elsewhere is refused", "[evict]") {
  Rig rig({2, 2, 4});
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1);
  const auto held = rig.acquire({{chunk, kRead}}, Tier::kGpu);
  CATCH_CHECK(rig.reads(chunk, 1, Tier::kCpu));
  CATCH_CHECK_THROWS_AS(rig.acquire({{chunk, kWrite}}, Tier::kCpu), StateError);
  rig.check_books();
  rig.residency->release(held, Tier::kGpu);
  rig.write(chunk, 2, Tier::kCpu);
  CATCH_CHECK(rig.reads(chunk, 2));
}

CATCH_TEST_CASE("residency: what is written after others looked from another tier is the newest all the same",
                "[evict]") {
  Rig rig({2, 2, 4});
  auto* chunk = rig.make_chunk();
  rig.write(chunk, 1);
  const auto held = rig.acquire({{chunk, Access::kWrite}}, Tier::kGpu);
  CATCH_CHECK(rig.reads(chunk, 1, Tier::kCpu));
  write_version(rig.residency->address(chunk, Tier::kGpu), kPage, 2);
  rig.residency->release(held, Tier::kGpu);
  CATCH_CHECK(rig.reads(chunk, 2, Tier::kCpu));
  CATCH_CHECK(rig.reads(chunk, 2, Tier::kGpu));
  rig.check_books();
}

CATCH_TEST_CASE("residency: prefetch takes no eviction, and what it brought is a hit", "[evict]") {
  Rig rig({2, 4, 4});
  auto *a = rig.make_chunk(), *b = rig.make_chunk(), *c = rig.make_chunk();
  for (auto* chunk : {a, b, c}) rig.write(chunk, chunk->id);
  rig.empty_compute_tier();
  rig.residency->prefetch(a, Tier::kGpu);
  rig.residency->prefetch(b, Tier::kGpu);
  rig.residency->prefetch(c, Tier::kGpu);
  CATCH_CHECK(rig.state(c, Tier::kGpu) == CopyState::kAbsent);
  rig.check_books();
  CATCH_CHECK(rig.reads(a, a->id));
  CATCH_CHECK(rig.reads(b, b->id));
  CATCH_CHECK(rig.residency->stats().prefetch_hits == 2);
  CATCH_CHECK(rig.residency->stats().fetches == 2);
  rig.check_books();
}

CATCH_TEST_CASE("residency: what was written behind leaves for free", "[evict]") {
  Rig rig({0, 1, 4});
  auto *a = rig.make_chunk(), *b = rig.make_chunk();
  rig.write(a, 1);
  const auto held = rig.acquire({{a, kRead}});
  rig.residency->write_behind(a, Tier::kCpu);  // pinned: somebody may be writing
  CATCH_CHECK(rig.state(a, Tier::kNvme) == CopyState::kAbsent);
  rig.residency->release(held, Tier::kCpu);
  rig.residency->write_behind(a, Tier::kCpu);
  rig.residency->write_behind(a, Tier::kCpu);
  CATCH_CHECK(rig.reads(a, 1));
  rig.write(b, 2);
  CATCH_CHECK(rig.residency->stats().evictions_dirty == 0);
  rig.residency->write_behind(b, Tier::kCpu);
  rig.write(b, 3);  // the copy below is old now
  CATCH_CHECK(rig.reads(a, 1));
  CATCH_CHECK(rig.reads(b, 3));
  rig.check_books();
}

// ---- room

CATCH_TEST_CASE("residency: out of memory exactly when what is pinned, unmovable and asked for passes the limit",
                "[evict]") {
  for (const Pages pages : {Pages{0, 8, 64}, Pages{8, 64, 0}, Pages{8, 8, 64}}) {
    std::mt19937_64 random(41);
    Rig rig(pages);
    const Tier tier = rig.compute();
    std::vector<Resident*> chunks;
    for (int i = 0; i < 10; ++i) {
      chunks.push_back(rig.make_chunk(1 + random() % 3));
      rig.write(chunks.back(), chunks.back()->id);
    }
    for (int round = 0; round < 200; ++round) {
      std::vector<Want> wants;
      for (auto* chunk : chunks)
        if (random() % 4 == 0) wants.push_back({chunk, kRead});
      const std::uint64_t block_bytes = (random() % 5) * kPage;
      std::uint64_t need = block_bytes;
      for (const auto& want : wants) need += want.resident->bytes;
      chunk::Block block;
      if (block_bytes > 0) block = rig.residency->allocate(block_bytes, tier);
      try {
        rig.residency->acquire(wants, tier);
        CATCH_REQUIRE(need <= 8 * kPage);
        rig.residency->release(wants, tier);
      } catch (const OutOfMemory& error) {
        CATCH_REQUIRE(need > 8 * kPage);
        CATCH_REQUIRE(error.need_bytes() == need);
        CATCH_REQUIRE(error.have_bytes() == 8 * kPage);
        CATCH_REQUIRE(error.tier() == tier);
      }
      std::array<std::uint64_t, 2> unmovable{};
      unmovable[static_cast<int>(tier)] = block_bytes;
      rig.check_books(unmovable);
    }
    for (auto* chunk : chunks) CATCH_CHECK(rig.reads(chunk, chunk->id));
  }
}

CATCH_TEST_CASE("residency: the measured need is enough, and one page less is not", "[evict]") {
  for (const bool has_gpu : {false, true})
    for (unsigned seed = 0; seed < 12; ++seed) {
      const auto run = [&](std::uint64_t limit_pages) {
        std::mt19937_64 random(seed);
        Rig rig(has_gpu ? Pages{limit_pages, 400, 400} : Pages{0, limit_pages, 400});
        rig.residency->with_timeline([](Timeline& timeline) { timeline.begin_pass(1); });
        std::vector<Resident*> chunks;
        for (int i = 0; i < 8; ++i) chunks.push_back(rig.make_chunk(1 + random() % 4));
        for (int step = 0; step < 40; ++step) {
          rig.residency->begin_operator("an operator", 1);
          std::vector<Want> wants;
          for (auto* chunk : chunks)
            if (random() % 5 == 0) wants.push_back({chunk, random() % 2 ? kRead : kWrite});
          rig.residency->acquire(wants, rig.compute());
          const auto block = rig.residency->allocate((1 + random() % 6) * kPage, rig.compute());
          rig.residency->release(wants, rig.compute());
        }
        std::uint64_t traced = 0;
        rig.residency->with_timeline([&](Timeline& timeline) {
          timeline.end_pass();
          traced = timeline.plan()->peak_need_bytes();
        });
        const Needs needs = rig.residency->needs();
        CATCH_REQUIRE(needs.working_set[static_cast<int>(rig.compute())] == traced);
        CATCH_REQUIRE(needs.working_set_at[static_cast<int>(rig.compute())] == "an operator");
        return traced / kPage;
      };
      const std::uint64_t need_pages = run(300);
      CATCH_CHECK(run(need_pages) == need_pages);
      CATCH_CHECK_THROWS_AS(run(need_pages - 1), OutOfMemory);
    }
}

// A failing test once: the policy's first choice could not leave, and nobody asked the second.
CATCH_TEST_CASE("residency: when the best candidate cannot leave, the next one goes", "[evict]") {
  Rig rig({0, 3, 0});
  auto *stuck = rig.make_chunk(), *blank = rig.make_chunk();
  rig.write(stuck, 1);
  CATCH_CHECK(rig.reads(blank, 0));
  const auto block = rig.residency->allocate(2 * kPage, Tier::kCpu);
  CATCH_CHECK(block);
  rig.check_books({0, 2 * kPage});
  CATCH_CHECK(rig.reads(stuck, 1));
}

// A failing test once: the drive was full of bytes that were just coming back from it.
CATCH_TEST_CASE("residency: a full drive takes what leaves as soon as what arrives has left it", "[evict]") {
  Rig rig({0, 2, 2});
  auto *a = rig.make_chunk(), *b = rig.make_chunk(), *c = rig.make_chunk();
  rig.write(a, 1);
  rig.write(b, 2);
  rig.write(c, 3);
  rig.residency->allocate(kPage, Tier::kCpu);  // sends b after a
  CATCH_REQUIRE(rig.residency->resident_bytes(Tier::kNvme) == 2 * kPage);
  const auto held = rig.acquire({{a, kRead}, {b, kRead}});
  rig.check_books();
  rig.residency->release(held, Tier::kCpu);
  CATCH_CHECK(rig.reads(a, 1));
  CATCH_CHECK(rig.reads(b, 2));
  CATCH_CHECK(rig.reads(c, 3));
}

CATCH_TEST_CASE("residency: with every tier full it says so and changes nothing", "[evict]") {
  Rig rig({1, 1, 1});
  std::vector<Resident*> chunks;
  for (std::uint64_t i = 0; i < 3; ++i) {
    chunks.push_back(rig.make_chunk());
    rig.write(chunks.back(), 1 + i);
  }
  CATCH_CHECK_THROWS_AS(rig.residency->allocate(kPage, Tier::kGpu), OutOfMemory);
  rig.check_books();
  CATCH_CHECK(rig.reads(chunks[2], 3));
  CATCH_CHECK_FALSE(rig.residency->failure());
}

CATCH_TEST_CASE("residency: while measuring, what is beyond the limit is granted and noted", "[evict]") {
  Rig rig({0, 2, 0});
  std::uint64_t granted = 0;
  rig.residency->set_measuring(true, [&](std::uint64_t bytes) {
    granted += bytes;
    return granted <= 4 * kPage;
  });
  const auto first = rig.residency->allocate(2 * kPage, Tier::kCpu);
  CATCH_CHECK_FALSE(rig.residency->is_refused());
  const auto second = rig.residency->allocate(3 * kPage, Tier::kCpu);
  CATCH_CHECK(rig.residency->is_refused());
  CATCH_CHECK(rig.residency->needs().working_set[1] == 5 * kPage);
  CATCH_CHECK_THROWS_AS(rig.residency->allocate(3 * kPage, Tier::kCpu), OutOfMemory);
}

CATCH_TEST_CASE("residency: evicting everything never takes more than the limits, and keeps what has no room below",
                "[evict]") {
  for (const Pages& pages : {Pages{0, 4, 1}, Pages{4, 1, 0}}) {
    Rig rig(pages);
    rig.residency->set_measuring(true, [](std::uint64_t) { return true; });
    auto* first = rig.make_chunk();
    auto* second = rig.make_chunk();
    rig.write(first, 1);
    rig.write(second, 2);
    rig.residency->evict_all();
    CATCH_CHECK_FALSE(rig.residency->is_refused());
    rig.check_books();
    CATCH_CHECK(rig.reads(first, 1));
    CATCH_CHECK(rig.reads(second, 2));
  }
}

CATCH_TEST_CASE("residency: the content is of all residents and what cannot move", "[evict]") {
  Rig rig({2, 8, 8});
  rig.make_chunk(3);
  rig.make_chunk(2);
  const auto block = rig.residency->allocate(2 * kPage, Tier::kGpu);
  CATCH_CHECK(rig.residency->needs().content == 7 * kPage);
  CATCH_CHECK(rig.residency->needs().largest_resident == 3 * kPage);
  rig.residency->note_future_need(Tier::kCpu, 6 * kPage, "the update");
  CATCH_CHECK(rig.residency->needs().working_set[1] == 6 * kPage);
  CATCH_CHECK(rig.residency->needs().working_set_at[1] == "the update");
}

CATCH_TEST_CASE("residency: while a model is built, what is blank is no content", "[evict]") {
  Rig rig({0, 8, 8});
  rig.residency->count_blank(false);
  auto *chunk = rig.make_chunk(3), *dies = rig.make_chunk(2);
  rig.residency->retire(dies);
  CATCH_CHECK(rig.residency->needs().content == 0);
  {
    const auto block = rig.residency->allocate(2 * kPage, Tier::kCpu);
    CATCH_CHECK(rig.reads(chunk, 0));
    CATCH_CHECK(rig.residency->needs().content == 2 * kPage);
    rig.write(chunk, 1);
    CATCH_CHECK(rig.residency->needs().content == 5 * kPage);
  }
  rig.residency->forget(chunk);
  rig.make_chunk(6);
  CATCH_CHECK(rig.residency->needs().content == 5 * kPage);
  rig.residency->count_blank(true);
  CATCH_CHECK(rig.residency->needs().content == 9 * kPage);
}

// What passes from the gpu to the drive needs the cpu for a moment.
CATCH_TEST_CASE("residency: departures count in the need of the tier below", "[evict]") {
  Rig rig({2, 8, 8});
  auto *a = rig.make_chunk(2), *b = rig.make_chunk(2);
  rig.write(a, 1);
  rig.write(b, 2);
  CATCH_CHECK(rig.residency->needs().working_set[1] == 2 * kPage);
  CATCH_CHECK(rig.reads(a, 1));
  CATCH_CHECK(rig.residency->needs().working_set[1] == 4 * kPage);
}

// Ten pages go up, a moment's fetch is on its way from the drive at once, and each of the three takes three times a
// page's way up: one after another they come meanwhile.
CATCH_TEST_CASE("residency: while one waits, what is foretold goes on", "[evict]") {
  SimulatedTiers tiers;
  tiers.levels = {Tier::kGpu, Tier::kCpu, Tier::kNvme};
  tiers.room = {10 * kPage, 32 * kPage, UINT64_MAX};
  tiers.rates.of(Edge::kH2d).bytes_per_second = 1e9;
  tiers.rates.of(Edge::kNvmeRead).bytes_per_second = 1e9 / 3;
  const auto clock = std::make_shared<SimulatedClock>(tiers.rates);
  Residency residency(make_hollow_tiers(tiers, clock), make_next_use_policy(), /*look_ahead=*/1);
  std::vector<Resident*> chunks{residency.make_chunk(chunk::ListKind::kParam, 10 * kPage, -1)};
  for (int i = 0; i < 3; ++i) chunks.push_back(residency.make_chunk(chunk::ListKind::kParam, kPage, -1));
  const auto use = [&](Resident* chunk, Tier tier, Access access) {
    const Want want{chunk, access};
    residency.acquire({&want, 1}, tier);
    residency.release({&want, 1}, tier);
  };
  for (Resident* chunk : chunks) use(chunk, Tier::kCpu, Access::kOverwrite);
  const auto begin = [&] {  // the large one in DRAM, the others on the drive
    residency.evict_all();
    residency.allocate(32 * kPage, Tier::kCpu) = {};
    use(chunks[0], Tier::kCpu, Access::kRead);
    residency.with_timeline([](Timeline& timeline) { timeline.begin_pass(7); });
  };
  begin();
  for (std::size_t at = 0; at < chunks.size(); ++at) {
    residency.begin_operator("use", at);
    use(chunks[at], Tier::kGpu, Access::kRead);
  }
  residency.with_timeline([](Timeline& timeline) { timeline.end_pass(); });
  begin();
  residency.begin_operator("use", 0);
  for (std::size_t at = 1; at < chunks.size(); ++at) CATCH_REQUIRE_FALSE(chunks[at]->on(Tier::kCpu).is_readable());
  const std::uint64_t start_ns = clock->now_ns();
  use(chunks[0], Tier::kGpu, Access::kRead);
  CATCH_CHECK(clock->now_ns() - start_ns == 10 * kPage);
  for (std::size_t at = 1; at < chunks.size(); ++at) CATCH_CHECK(chunks[at]->on(Tier::kCpu).is_readable());
}

}  // namespace
}  // namespace asterias::evict::tests
