#include "chunk/layout.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"

namespace asterias::chunk {
namespace {

using Storages = std::vector<StorageSpec>;

Storages random_storages(std::mt19937_64& random, std::uint64_t largest_bytes) {
  Storages storages(1 + random() % 60);
  for (auto& storage : storages) {
    storage.bytes = random() % 8 == 0 ? 0 : random() % (largest_bytes + 1);
    storage.dtype = static_cast<int>(random() % 3);
    storage.trainable = random() % 4 != 0;
    storage.state = static_cast<int>(random() % 2);
  }
  return storages;
}

// What must hold for every layout, whatever the storages.
void check_layout(const Storages& storages, const Layout& layout, std::uint64_t chunk_bytes) {
  CATCH_REQUIRE(layout.places.size() == storages.size());
  std::map<std::uint32_t, std::uint64_t> ends;  // places come in order, so an end per chunk is enough to see an overlap
  std::map<std::tuple<int, bool, int>, std::uint32_t> lasts;
  for (std::size_t i = 0; i < storages.size(); ++i) {
    const Place place = layout.places[i];
    CATCH_REQUIRE(place.chunk < layout.chunks.size());
    const ChunkSpec& chunk = layout.chunks[place.chunk];
    CATCH_REQUIRE(place.offset_bytes % kTensorAlignment == 0);
    CATCH_REQUIRE(place.offset_bytes + storages[i].bytes <= chunk.bytes);
    CATCH_REQUIRE(place.offset_bytes >= ends[place.chunk]);
    CATCH_REQUIRE(chunk.dtype == storages[i].dtype);
    CATCH_REQUIRE(chunk.trainable == storages[i].trainable);
    CATCH_REQUIRE(chunk.state == storages[i].state);
    ends[place.chunk] = place.offset_bytes + storages[i].bytes;
    if (storages[i].bytes <= chunk_bytes) lasts[{chunk.dtype, chunk.trainable, chunk.state}] = place.chunk;
  }
  CATCH_REQUIRE(ends.size() == layout.chunks.size());  // no chunk without a storage
  std::uint64_t waste = 0;
  for (std::uint32_t i = 0; i < layout.chunks.size(); ++i) {
    const ChunkSpec& chunk = layout.chunks[i];
    CATCH_REQUIRE(chunk.bytes > 0);
    CATCH_REQUIRE(chunk.bytes % kChunkGranule == 0);
    CATCH_REQUIRE(chunk.used_bytes <= chunk.bytes);
    CATCH_REQUIRE(chunk.used_bytes == round_up(ends[i], kTensorAlignment));
    const auto last = lasts.find({chunk.dtype, chunk.trainable, chunk.state});
    const bool is_last = last != lasts.end() && last->second == i;
    const bool is_full_size = chunk.bytes == chunk_bytes;
    const bool is_oversized = chunk.bytes > chunk_bytes && chunk.bytes - chunk.used_bytes < kChunkGranule;
    CATCH_REQUIRE((is_last || is_full_size || is_oversized));
    waste += chunk.bytes - chunk.used_bytes;
  }
  CATCH_REQUIRE(layout.waste_bytes() == waste);
}

CATCH_TEST_CASE("layout: random storages", "[chunk]") {
  std::mt19937_64 random(11);
  for (int round = 0; round < 400; ++round) {
    const std::uint64_t chunk_bytes = (1 + random() % 16) * kChunkGranule;
    const Storages storages = random_storages(random, 3 * chunk_bytes / (1 + random() % 12));
    check_layout(storages, make_layout(storages, chunk_bytes), chunk_bytes);
  }
}

CATCH_TEST_CASE("layout: storages follow one another in the order given", "[chunk]") {
  const Storages storages{{100, 0, true}, {512, 0, true}, {513, 0, true}, {2048, 0, true}, {1, 0, true}};
  const Layout layout = make_layout(storages, 4096);
  const std::uint64_t offsets[] = {0, 512, 1024, 2048, 0};
  for (std::size_t i = 0; i < storages.size(); ++i) {
    CATCH_CHECK(layout.places[i].offset_bytes == offsets[i]);
    CATCH_CHECK(layout.places[i].chunk == (i < 4 ? 0 : 1));
  }
  CATCH_REQUIRE(layout.chunks.size() == 2);
  CATCH_CHECK(layout.waste_bytes() == 4096 - 512);
}

CATCH_TEST_CASE("layout: neither dtype nor frozen and trained share a chunk", "[chunk]") {
  const Storages storages{{512, 0, true}, {512, 1, true}, {512, 0, false}, {512, 0, true}};
  const Layout layout = make_layout(storages, 8192);
  CATCH_CHECK(layout.chunks.size() == 3);
  CATCH_CHECK(layout.places[3].chunk == layout.places[0].chunk);
}

CATCH_TEST_CASE("layout: a large storage has a chunk of its own and does not close the open one", "[chunk]") {
  const Storages storages{{512, 0, true}, {20000, 0, true}, {512, 0, true}, {8192, 0, true}};
  const Layout layout = make_layout(storages, 8192);
  CATCH_REQUIRE(layout.chunks.size() == 3);
  CATCH_CHECK(layout.chunks[1].bytes == 20480);
  CATCH_CHECK(layout.places[2].chunk == 0);
  CATCH_CHECK(layout.chunks[2].bytes == 8192);  // as large as a chunk is not too large
}

CATCH_TEST_CASE("layout: empty storages take no room, and a chunk has bytes", "[chunk]") {
  const Storages storages{{512, 0, true}, {0, 0, true}, {512, 0, true}, {0, 1, true}, {0, 1, true}};
  const Layout layout = make_layout(storages, 4096);
  CATCH_CHECK(layout.places[2].offset_bytes == 512);
  CATCH_REQUIRE(layout.chunks.size() == 2);
  CATCH_CHECK(layout.chunks[1].bytes == kChunkGranule);
  CATCH_CHECK(layout.chunks[1].used_bytes == 0);
  CATCH_CHECK(make_layout({}, 4096).chunks.empty());
}

CATCH_TEST_CASE("layout: chunk sizes are rounded up to the granule", "[chunk]") {
  const Storages storages{{4096, 0, true}, {4096, 0, true}, {4096, 0, true}};
  CATCH_CHECK(make_layout(storages, 1).chunks.size() == 3);
  CATCH_CHECK(make_layout(storages, 4097).chunks[0].bytes == 8192);
}

// A chunk's lists move in requests of their own.
std::uint64_t cost_of(const Layout& layout) { return layout.waste_bytes() + layout.chunks.size() * 512 * kKiB; }

CATCH_TEST_CASE("chunk size: within its bounds, and the largest costs and wastes no less", "[chunk]") {
  std::mt19937_64 random(12);
  for (int round = 0; round < 60; ++round) {
    const Storages storages = random_storages(random, 4 * kMiB);
    std::uint64_t total = 0;
    for (const auto& storage : storages) total += round_up(storage.bytes, kTensorAlignment);
    const std::uint64_t bound = kChunkGranule + random() % (8 * kMiB);
    const std::uint64_t chosen = choose_chunk_bytes(storages, bound);
    CATCH_REQUIRE(chosen % kChunkGranule == 0);
    CATCH_REQUIRE(chosen >= kChunkGranule);
    CATCH_REQUIRE(chosen <= bound);
    CATCH_REQUIRE(chosen <= std::max(round_up(total / 32, kChunkGranule), 16 * kChunkGranule));
    const std::uint64_t free_choice = choose_chunk_bytes(storages, UINT64_MAX);
    const std::uint64_t largest = std::clamp(round_up(total / 32, kChunkGranule), 16 * kChunkGranule, 32 * kMiB);
    const Layout chosen_layout = make_layout(storages, free_choice), largest_layout = make_layout(storages, largest);
    CATCH_REQUIRE(cost_of(chosen_layout) <= cost_of(largest_layout));
    CATCH_REQUIRE(chosen_layout.waste_bytes() <= largest_layout.waste_bytes());
  }
}

// Of a deep and narrow GPT: without any waste each matrix of 1 MiB would move alone.
CATCH_TEST_CASE("chunk size: small tensors share chunks that are worth a request", "[chunk]") {
  constexpr std::uint64_t kWidth = 512, kLayers = 20;
  Storages storages{{4096 * kWidth * 4, 0, true}};
  for (std::uint64_t layer = 0; layer < kLayers; ++layer)
    for (const std::uint64_t rows : {3, 1, 4, 4})
      for (const std::uint64_t columns : {kWidth, std::uint64_t{1}})
        storages.push_back({rows * kWidth * columns * 4, 0, true});
  std::uint64_t total = 0;
  for (const auto& storage : storages) total += storage.bytes;
  const std::uint64_t chosen = choose_chunk_bytes(storages, UINT64_MAX);
  CATCH_CHECK(chosen >= 4 * kMiB);
  CATCH_CHECK(make_layout(storages, chosen).waste_bytes() < total / 20);
}

// Else the smallest sufficient budget would change the size it was computed for.
CATCH_TEST_CASE("chunk size: a bound that does not bind changes nothing", "[chunk]") {
  std::mt19937_64 random(13);
  for (int round = 0; round < 40; ++round) {
    const Storages storages = random_storages(random, 4 * kMiB);
    const std::uint64_t chosen = choose_chunk_bytes(storages, 32 * kMiB);
    for (const std::uint64_t bound : {33 * kMiB, kGiB, UINT64_MAX})
      CATCH_REQUIRE(choose_chunk_bytes(storages, bound) == chosen);
    CATCH_REQUIRE(choose_chunk_bytes(storages, chosen) == chosen);
  }
  CATCH_CHECK(choose_chunk_bytes({}, kMiB) == 16 * kChunkGranule);
  CATCH_CHECK(choose_chunk_bytes({}, 0) == kChunkGranule);
}

}  // namespace
}  // namespace asterias::chunk
