#include "device/page_block.hpp"

#include <algorithm>
#include <cstring>
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

CATCH_TEST_CASE("pages of several blocks are gathered in one, with what is in them", "[device]") {
  const std::uint64_t before = PageBlock::mapped_bytes(), seams_before = PageBlock::num_seams();
  {
    PageBlock large(9 * kMiB), other(5 * kMiB);
    std::memset(large.data(), 1, large.bytes());
    std::memset(other.data(), 2, other.bytes());
    PageBlock rest = large.cut(6 * kMiB + kPageBytes);
    rest.data()[0] = std::byte{3};
    const std::byte* const address = rest.data();
    std::pmr::vector<PageBlock> pieces;
    pieces.push_back(std::move(large));
    pieces.push_back(std::move(other));
    PageBlock whole = PageBlock::gather(std::move(pieces));
    CATCH_CHECK(whole.bytes() == 11 * kMiB + kPageBytes);
    CATCH_CHECK(all_resident(whole));
    const std::byte* const border = whole.data() + 6 * kMiB + kPageBytes;
    CATCH_CHECK(std::all_of(whole.data() + 0, whole.data() + 6 * kMiB, [](std::byte b) { return b == std::byte{1}; }));
    CATCH_CHECK(std::all_of(border, border + 5 * kMiB, [](std::byte b) { return b == std::byte{2}; }));
    CATCH_CHECK(PageBlock::mapped_bytes() == before + 14 * kMiB);
    CATCH_CHECK(PageBlock::num_seams() > seams_before);
    CATCH_CHECK(rest.data() == address);  // the neighbour of what has gone stays
    CATCH_CHECK(rest.data()[0] == std::byte{3});
    CATCH_CHECK_FALSE(whole.can_join(rest));

    PageBlock end = whole.cut(3 * kMiB);  // and once more, across its seams
    pieces.clear();
    pieces.push_back(std::move(end));
    pieces.push_back(std::move(rest));
    whole = PageBlock::gather(std::move(pieces));
    CATCH_CHECK(whole.data()[0] == std::byte{1});
    CATCH_CHECK(whole.data()[3 * kMiB + kPageBytes] == std::byte{2});
    CATCH_CHECK(whole.data()[8 * kMiB + kPageBytes] == std::byte{3});
  }
  CATCH_CHECK(PageBlock::mapped_bytes() == before);
  CATCH_CHECK(PageBlock::num_seams() == seams_before);
}

CATCH_TEST_CASE("a block that is cut at a seam and joined again can be gathered", "[device]") {
  const std::uint64_t seams_before = PageBlock::num_seams(), mapped_before = PageBlock::mapped_bytes();
  for (int i = 0; i < 16; ++i) {  // one of each offset
    PageBlock block(4 * kMiB + 3 * kPageBytes), other(kPageBytes);
    const std::uint64_t seams = PageBlock::num_seams();
    CATCH_CHECK(seams - seams_before <= 3);
    std::memset(block.data(), 1, 4 * kMiB);
    std::memset(block.data() + 4 * kMiB, 2, 3 * kPageBytes);
    PageBlock rest = block.cut(4 * kMiB);
    PageBlock end = rest.cut(kPageBytes);
    CATCH_CHECK(PageBlock::num_seams() == seams);
    rest.join(std::move(end));
    block.join(std::move(rest));
    CATCH_CHECK(PageBlock::num_seams() == seams);
    rest = block.cut(4 * kMiB);
    std::pmr::vector<PageBlock> pieces;
    for (PageBlock* piece : {&other, &rest, &block})
      pieces.push_back(std::move(*piece));  // with a seam where one starts
    const PageBlock whole = PageBlock::gather(std::move(pieces));
    CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before + 4 * kMiB + 4 * kPageBytes);
    CATCH_CHECK(whole.data()[kPageBytes] == std::byte{2});
    CATCH_CHECK(std::all_of(whole.data() + 4 * kPageBytes, whole.data() + whole.bytes(),
                            [](std::byte b) { return b == std::byte{1}; }));
  }
  CATCH_CHECK(PageBlock::num_seams() == seams_before);
  CATCH_CHECK(PageBlock::mapped_bytes() == mapped_before);
}

CATCH_TEST_CASE("gathering nothing maps nothing", "[device]") { CATCH_CHECK_FALSE(PageBlock::gather({})); }

CATCH_TEST_CASE("an empty page block maps nothing", "[device]") {
  const PageBlock none, zero(0);
  CATCH_CHECK_FALSE(none);
  CATCH_CHECK_FALSE(zero);
}

CATCH_TEST_CASE("what cannot be mapped is refused", "[device]") {
  const std::uint64_t before = PageBlock::mapped_bytes();
  CATCH_CHECK_THROWS_AS(PageBlock(kPageBytes + 1), StateError);
  CATCH_CHECK_THROWS_AS(PageBlock(std::uint64_t{1} << 50), std::bad_alloc);
  CATCH_CHECK(PageBlock::mapped_bytes() == before);
}

}  // namespace
}  // namespace asterias::device
