// A program of its own: it measures the whole process.
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/process_memory.hpp"
#include "device/page_block.hpp"

namespace asterias::device {
namespace {

constexpr std::uint64_t kSlack = kMiB;  // of /proc/self/statm and of the vector

CATCH_TEST_CASE("page blocks of any size cost exactly their bytes of the resident set", "[device]") {
  const std::uint64_t block_bytes =
      GENERATE(as<std::uint64_t>(), 12 * kKiB, 1 * kMiB, 3 * kMiB, 5 * kMiB, 9 * kMiB + 4 * kKiB);
  const std::uint64_t before = resident_set_bytes();
  const std::uint64_t count = 96 * kMiB / block_bytes;
  std::vector<PageBlock> blocks;
  for (std::uint64_t i = 0; i < count; ++i) blocks.emplace_back(block_bytes);
  const std::uint64_t all = resident_set_bytes();
  for (std::uint64_t i = 0; i < count; i += 2) blocks[i] = PageBlock();  // every second one, so that neighbours stay
  const std::uint64_t half = resident_set_bytes();
  blocks.clear();
  CATCH_CHECK(all - before <= count * block_bytes + kSlack);
  CATCH_CHECK(all - before + kSlack >= count * block_bytes);
  CATCH_CHECK(half - before <= count / 2 * block_bytes + kSlack);
  CATCH_CHECK(resident_set_bytes() <= before + kSlack);
}

}  // namespace
}  // namespace asterias::device
