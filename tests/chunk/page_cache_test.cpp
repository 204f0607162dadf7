#include "chunk/page_cache.hpp"

#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias::chunk {
namespace {

using device::kPageBytes;
using device::PageBlock;

CATCH_TEST_CASE("page cache: what is cut off comes together again", "[chunk]") {
  PageCache cache;
  const std::uint64_t mapped_before = PageBlock::mapped_bytes();
  PageBlock whole(8 * kPageBytes);
  std::byte* const start = whole.data();
  std::memset(start, 7, whole.bytes());
  cache.put(std::move(whole));
  auto first = cache.take(3 * kPageBytes), second = cache.take(2 * kPageBytes), third = cache.take(3 * kPageBytes);
  CATCH_REQUIRE(third);
  CATCH_CHECK(first->data() == start);
  CATCH_CHECK(second->data() == start + 3 * kPageBytes);
  CATCH_CHECK(third->data() == start + 5 * kPageBytes);
  CATCH_CHECK(cache.bytes() == 0);
  CATCH_CHECK_FALSE(cache.take(kPageBytes));
  cache.put(std::move(*first));
  cache.put(std::move(*third));
  CATCH_CHECK(cache.has(3 * kPageBytes));
  CATCH_CHECK_FALSE(cache.has(6 * kPageBytes));  // two ranges of three
  CATCH_CHECK_FALSE(cache.has(2 * kPageBytes));
  cache.put(std::move(*second));
  const auto again = cache.take(8 * kPageBytes);
  CATCH_REQUIRE(again);
  CATCH_CHECK(again->data() == start);
  CATCH_CHECK(start[8 * kPageBytes - 1] == std::byte{7});
  CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before + 8 * kPageBytes);
}

CATCH_TEST_CASE("page cache: the smallest range that holds a block is cut", "[chunk]") {
  PageCache cache;
  PageBlock large(9 * kPageBytes), small(4 * kPageBytes);
  const std::byte* const start = small.data();
  cache.put(std::move(large));
  cache.put(std::move(small));
  CATCH_CHECK(cache.take(3 * kPageBytes)->data() == start);
  CATCH_CHECK(cache.take(9 * kPageBytes));
}

CATCH_TEST_CASE("page cache: neighbours of two mappings stay two", "[chunk]") {
  for (int tries = 0; tries < 50; ++tries) {  // the kernel puts some side by side
    PageCache cache;
    PageBlock a(kPageBytes), b(kPageBytes);
    CATCH_REQUIRE_FALSE(a.can_join(b));
    CATCH_REQUIRE_FALSE(b.can_join(a));
    cache.put(std::move(a));
    cache.put(std::move(b));
    CATCH_REQUIRE(cache.has(kPageBytes));
    CATCH_REQUIRE_FALSE(cache.has(2 * kPageBytes));
  }
}

CATCH_TEST_CASE("page cache: pages of several ranges make one block, the longest first", "[chunk]") {
  PageCache cache;
  PageBlock small(2 * kPageBytes), large(5 * kPageBytes), middle(3 * kPageBytes);
  for (PageBlock* block : {&small, &large, &middle})
    std::memset(block->data(), static_cast<int>(block->bytes() / kPageBytes), block->bytes());
  const std::uint64_t mapped_before = PageBlock::mapped_bytes();
  for (PageBlock* block : {&small, &large, &middle}) cache.put(std::move(*block));
  CATCH_CHECK_FALSE(cache.take(11 * kPageBytes));
  const auto block = cache.take(7 * kPageBytes);
  CATCH_REQUIRE(block);
  CATCH_CHECK(block->bytes() == 7 * kPageBytes);
  CATCH_CHECK(cache.bytes() == 3 * kPageBytes);
  CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before);
  CATCH_CHECK(block->data()[0] == std::byte{5});
  CATCH_CHECK(block->data()[5 * kPageBytes] == std::byte{3});
}

CATCH_TEST_CASE("page cache: no more goes back to the system than is asked for", "[chunk]") {
  PageCache cache;
  const std::uint64_t mapped_before = PageBlock::mapped_bytes();
  for (const std::uint64_t pages : {2, 7, 5}) cache.put(PageBlock(pages * kPageBytes));
  cache.give_back(3 * kPageBytes);
  CATCH_CHECK(cache.bytes() == 11 * kPageBytes);
  cache.give_back(6 * kPageBytes);
  CATCH_CHECK(cache.bytes() == 5 * kPageBytes);
  CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before + 5 * kPageBytes);
  cache.give_back(100 * kPageBytes);
  CATCH_CHECK(cache.bytes() == 0);
  CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before);
}

CATCH_TEST_CASE("page cache: a walk loses no page and lends none twice", "[chunk]") {
  std::mt19937_64 random(61);
  const std::uint64_t mapped_before = PageBlock::mapped_bytes();
  const auto [unit_bytes, num_steps] = GENERATE(std::pair{kPageBytes, 4000}, std::pair{171 * kPageBytes, 500});
  {
    PageCache cache;
    std::vector<std::pair<PageBlock, std::uint8_t>> lent;
    std::uint64_t lent_bytes = 0;
    std::uint8_t stamp = 0;
    for (int step = 0; step < num_steps; ++step) {
      const std::uint64_t bytes = unit_bytes * (1 + random() % 12);
      if (random() % 16 == 0) cache.give_back(bytes);
      if (random() % 2 == 0 || lent.empty()) {
        const bool is_there = cache.bytes() >= bytes;
        auto block = cache.take(bytes);
        CATCH_REQUIRE(block.has_value() == is_there);
        if (!block && lent_bytes < 200 * unit_bytes) block = PageBlock(bytes);
        if (!block) continue;
        CATCH_REQUIRE(block->bytes() == bytes);
        std::memset(block->data(), ++stamp, bytes);
        lent_bytes += bytes;
        lent.emplace_back(std::move(*block), stamp);
      } else {
        std::swap(lent[random() % lent.size()], lent.back());
        auto [block, expected] = std::move(lent.back());
        lent.pop_back();
        std::uint64_t at = 0;  // one check a block: there are millions of places
        while (at < block.bytes() && block.data()[at] == static_cast<std::byte>(expected)) at += 512;
        CATCH_REQUIRE(at >= block.bytes());
        lent_bytes -= block.bytes();
        cache.put(std::move(block));
      }
      CATCH_REQUIRE(PageBlock::mapped_bytes() == mapped_before + lent_bytes + cache.bytes());
    }
  }
  CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before);
}

}  // namespace
}  // namespace asterias::chunk
