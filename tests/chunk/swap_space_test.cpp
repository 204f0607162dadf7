#include "chunk/swap_space.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "device/page_block.hpp"
#include "tests/base/temporary_folder.hpp"
#include "tests/chunk/ram_block_file.hpp"
#include "tests/device/faulty_file_calls.hpp"

namespace asterias::chunk::tests {
namespace {

using device::PageBlock;
using device::tests::FaultyFileCalls;

constexpr std::uint64_t kPage = device::kBlockFileAlignment;

// A swap space on drives in memory.
struct RamSwap {
  RamSwap(int num_drives, std::uint64_t limit_bytes, std::uint64_t capacity_bytes = 26 * kMiB)
      : space(make(num_drives, capacity_bytes), limit_bytes) {}

  std::uint64_t file_bytes() const {
    std::uint64_t sum = 0;
    for (const auto* drive : drives) sum += drive->bytes();
    return sum;
  }

  std::vector<RamBlockFile*> drives;
  SwapSpace space;

 private:
  std::vector<std::unique_ptr<device::BlockFile>> make(int num_drives, std::uint64_t capacity_bytes) {
    std::vector<std::unique_ptr<device::BlockFile>> files;
    for (int i = 0; i < num_drives; ++i) {
      auto file = std::make_unique<RamBlockFile>(capacity_bytes);
      drives.push_back(file.get());
      files.push_back(std::move(file));
    }
    return files;
  }
};

// Room with a pattern of its own in it, so that an overlap with other room shows.
struct Tagged {
  Extents extents;
  std::uint64_t tag;
};

PageBlock pattern(std::uint64_t tag, std::uint64_t bytes) {
  PageBlock block(bytes);
  auto* words = reinterpret_cast<std::uint64_t*>(block.data());
  for (std::uint64_t i = 0; i < bytes / 8; ++i) words[i] = tag * 0x9E3779B97F4A7C15U + i;
  return block;
}

void store(SwapSpace& space, const Tagged& room) {
  const PageBlock block = pattern(room.tag, room.extents.bytes());
  space.write(room.extents, {block.data(), block.bytes()}).wait();
}

bool is_intact(SwapSpace& space, const Tagged& room) {
  const PageBlock expected = pattern(room.tag, room.extents.bytes());
  PageBlock found(expected.bytes());
  space.read(room.extents, {found.data(), found.bytes()}).wait();
  return std::memcmp(found.data(), expected.data(), found.bytes()) == 0;
}

void walk(RamSwap& swap, unsigned seed, std::uint64_t largest_pages, int steps) {
  std::mt19937_64 random(seed);
  std::vector<Tagged> rooms;
  std::uint64_t held_bytes = 0;
  for (int step = 0; step < steps; ++step) {
    if (random() % 5 < 3 || rooms.empty()) {
      const std::uint64_t bytes = 1 + random() % (largest_pages * kPage);
      auto extents = swap.space.try_take(bytes);
      const std::uint64_t charged = SwapSpace::charge(bytes);
      CATCH_REQUIRE(extents.has_value() == (held_bytes + charged <= swap.space.limit_bytes()));
      if (!extents) continue;
      CATCH_REQUIRE(extents->bytes() == charged);
      held_bytes += charged;
      rooms.push_back({std::move(*extents), random()});
      store(swap.space, rooms.back());
    } else {
      std::swap(rooms[random() % rooms.size()], rooms.back());
      CATCH_REQUIRE(is_intact(swap.space, rooms.back()));
      held_bytes -= rooms.back().extents.bytes();
      rooms.pop_back();
    }
    CATCH_REQUIRE(swap.space.used_bytes() == held_bytes);
    CATCH_REQUIRE(swap.file_bytes() <= swap.space.limit_bytes());
  }
  for (const auto& room : rooms) CATCH_REQUIRE(is_intact(swap.space, room));
}

CATCH_TEST_CASE("swap space: living extents never overlap, and a full one refuses exactly", "[chunk]") {
  for (const int drives : {1, 2, 3}) {
    RamSwap swap(drives, 120 * kPage + 1000);  // a limit that is no multiple of the alignment
    walk(swap, static_cast<unsigned>(drives), 24, 600);
    CATCH_CHECK(swap.space.peak_used_bytes() <= swap.space.limit_bytes());
  }
}

CATCH_TEST_CASE("swap space: large payloads on two drives", "[chunk]") {
  RamSwap swap(2, 24 * kMiB);
  walk(swap, 5, 5 * kMiB / kPage, 60);
}

CATCH_TEST_CASE("swap space: a large payload is striped, small ones take the drives in turn", "[chunk]") {
  RamSwap swap(2, SwapSpace::kUnlimited, 66 * kMiB);
  const auto large = swap.space.try_take(2 * SwapSpace::kStripeBytes);
  CATCH_REQUIRE(large);
  for (const auto* drive : swap.drives) CATCH_CHECK(drive->bytes() > 0);
  RamSwap other(2, SwapSpace::kUnlimited, 66 * kMiB);
  const auto first = other.space.try_take(kPage);
  CATCH_CHECK(other.drives[1]->bytes() == 0);
  const auto second = other.space.try_take(kPage);
  CATCH_CHECK(other.drives[1]->bytes() > 0);
}

CATCH_TEST_CASE("swap space: what is free in pieces is used whole", "[chunk]") {
  for (const int drives : {1, 2}) {
    RamSwap swap(drives, 16 * kPage);
    std::vector<Tagged> rooms;
    for (std::uint64_t i = 0; i < 16; ++i) {
      rooms.push_back({*swap.space.try_take(kPage), i});
      store(swap.space, rooms.back());
    }
    CATCH_CHECK_FALSE(swap.space.try_take(1));
    std::vector<Tagged> kept;
    for (std::size_t i = 0; i < 16; i += 2) kept.push_back(std::move(rooms[i]));
    rooms.clear();  // every second page is free
    Tagged all{*swap.space.try_take(8 * kPage), 100};
    store(swap.space, all);
    CATCH_CHECK(is_intact(swap.space, all));
    for (const auto& room : kept) CATCH_CHECK(is_intact(swap.space, room));
    CATCH_CHECK(swap.file_bytes() == 16 * kPage);
  }
}

CATCH_TEST_CASE("swap space: beyond the limit on request only", "[chunk]") {
  RamSwap swap(1, 2 * kPage);
  Tagged room{swap.space.take_beyond_limit(5 * kPage), 1};
  store(swap.space, room);
  CATCH_CHECK(is_intact(swap.space, room));
  CATCH_CHECK_FALSE(swap.space.try_take(kPage));
  CATCH_CHECK(swap.space.used_bytes() == 5 * kPage);
}

CATCH_TEST_CASE("swap space: extents move with their room", "[chunk]") {
  RamSwap swap(1, SwapSpace::kUnlimited, 64 * kMiB);
  Extents first = *swap.space.try_take(kPage), second = *swap.space.try_take(3 * kPage);
  second = std::move(first);
  CATCH_CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): it is what is tested
  CATCH_CHECK(second.bytes() == kPage);
  CATCH_CHECK(swap.space.used_bytes() == kPage);
  second = Extents();
  CATCH_CHECK(swap.space.used_bytes() == 0);
}

CATCH_TEST_CASE("swap space: a nearly full drive is used to its end", "[chunk]") {
  RamSwap swap(1, SwapSpace::kUnlimited, 10 * kPage);  // less than a step of growth
  auto most = swap.space.try_take(9 * kPage);
  CATCH_REQUIRE(most);
  CATCH_CHECK_THROWS_AS(swap.space.try_take(2 * kPage), IoError);
  CATCH_CHECK(swap.space.used_bytes() == 9 * kPage);
  CATCH_CHECK(swap.space.try_take(kPage));
}

CATCH_TEST_CASE("swap space: a full drive surfaces and leaves the books right", "[chunk][fault]") {
  const asterias::tests::TemporaryFolder folder;
  const auto calls = std::make_shared<FaultyFileCalls>();
  std::vector<std::unique_ptr<device::BlockFile>> files;
  for (int i = 0; i < 2; ++i) files.push_back(device::create_swap_file(folder.path(), {2, 64 * kKiB, true}, calls));
  SwapSpace space(std::move(files), 4 * kMiB);
  Tagged before{*space.try_take(kMiB), 1};
  store(space, before);
  calls->allocate_error = ENOSPC;
  try {
    space.try_take(3 * kMiB);
    CATCH_FAIL("there was no room");
  } catch (const IoError& error) {
    CATCH_CHECK(error.error_number() == ENOSPC);
    CATCH_CHECK(error.path().find(folder.path()) == 0);
  }
  CATCH_CHECK(space.used_bytes() == kMiB);
  calls->allocate_error = 0;
  Tagged after{*space.try_take(3 * kMiB), 2};
  store(space, after);
  CATCH_CHECK(is_intact(space, before));
  CATCH_CHECK(is_intact(space, after));
  CATCH_CHECK_FALSE(space.try_take(1));
}

CATCH_TEST_CASE("swap space: a failed stripe fails the move, and only that", "[chunk][fault]") {
  const asterias::tests::TemporaryFolder folder;
  const auto calls = std::make_shared<FaultyFileCalls>();
  std::vector<std::unique_ptr<device::BlockFile>> files;
  for (int i = 0; i < 2; ++i) files.push_back(device::create_swap_file(folder.path(), {2, 256 * kKiB, true}, calls));
  SwapSpace space(std::move(files), 8 * kMiB);
  Tagged room{*space.try_take(3 * kMiB), 7};
  const PageBlock block = pattern(room.tag, room.extents.bytes());
  calls->fail_transfer(5, EIO);
  MoveTicket ticket = space.write(room.extents, {block.data(), block.bytes()});
  CATCH_CHECK_THROWS_AS(ticket.wait(), IoError);
  CATCH_CHECK_THROWS_AS(ticket.wait(), IoError);
  CATCH_CHECK(ticket.done());
  store(space, room);
  CATCH_CHECK(is_intact(space, room));
}

}  // namespace
}  // namespace asterias::chunk::tests
