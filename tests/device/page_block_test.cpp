#include "device/page_block.hpp"

#include <algorithm>
#include <new>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::device {
namespace {

bool all_resident(const PageBlock& block) {
  std::vector<unsigned char> pages(block.bytes() / kPageBytes);
  CATCH_REQUIRE(mincore(block.data(), block.bytes(), pages.data()) == 0);
  return std::all_of(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
}

CATCH_TEST_CASE("a page block is there in full and zero", "[device]") {
  for (const std::uint64_t bytes : {kPageBytes, 3 * kPageBytes, 2 * kMiB, 4 * kMiB, 7 * kMiB + kPageBytes}) {
    const PageBlock block(bytes);
    CATCH_CHECK(block.bytes() == bytes);
    CATCH_CHECK(all_resident(block));
    CATCH_CHECK(std::all_of(block.data(), block.data() + bytes, [](std::byte b) { return b == std::byte{0}; }));
    CATCH_CHECK(reinterpret_cast<std::uint64_t>(block.data()) % kPageBytes == 0);
  }
}

CATCH_TEST_CASE("large blocks that are taken one after another start differently within their huge pages", "[device]") {
  const PageBlock blocks[] = {PageBlock(4 * kMiB), PageBlock(4 * kMiB), PageBlock(4 * kMiB), PageBlock(4 * kMiB)};
  std::vector<std::uint64_t> starts;
  for (const auto& block : blocks) starts.push_back(reinterpret_cast<std::uint64_t>(block.data()) % (2 * kMiB));
  std::sort(starts.begin(), starts.end());
  CATCH_CHECK(std::adjacent_find(starts.begin(), starts.end()) == starts.end());
}

CATCH_TEST_CASE("a page block moves and dies once", "[device]") {
  PageBlock first(kPageBytes);
  std::byte* const address = first.data();
  PageBlock second(std::move(first));
  CATCH_CHECK_FALSE(first);  // NOLINT(bugprone-use-after-move): it is what is tested
  CATCH_CHECK(second.data() == address);
  PageBlock third(2 * kPageBytes);
  third = std::move(second);
  CATCH_CHECK(third.data() == address);
  CATCH_CHECK(third.bytes() == kPageBytes);
}

CATCH_TEST_CASE("living page blocks are summed", "[device]") {
  const std::uint64_t before = PageBlock::mapped_bytes();
  PageBlock first(3 * kPageBytes), second(5 * kMiB);
  CATCH_CHECK(PageBlock::mapped_bytes() == before + 3 * kPageBytes + 5 * kMiB);
  first = std::move(second);
  CATCH_CHECK(PageBlock::mapped_bytes() == before + 5 * kMiB);
  first = PageBlock();
  CATCH_CHECK(PageBlock::mapped_bytes() == before);
}

CATCH_TEST_CASE("an empty page block maps nothing", "[device]") {
  const PageBlock none, zero(0);
  CATCH_CHECK_FALSE(none);
  CATCH_CHECK_FALSE(zero);
}

CATCH_TEST_CASE("what cannot be mapped is refused", "[device]") {
  CATCH_CHECK_THROWS_AS(PageBlock(kPageBytes + 1), StateError);
  CATCH_CHECK_THROWS_AS(PageBlock(std::uint64_t{1} << 50), std::bad_alloc);
}

}  // namespace
}  // namespace asterias::device
