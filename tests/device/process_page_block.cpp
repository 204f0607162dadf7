// A program of its own: it measures the whole process.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
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

// Physical addresses, in pages; empty where the system hides them.
std::vector<std::uint64_t> frames_of(const PageBlock& block) {
  std::vector<std::uint64_t> entries(block.bytes() / kPageBytes);
  std::ifstream pagemap("/proc/self/pagemap", std::ios::binary);
  pagemap.seekg(static_cast<std::streamoff>(reinterpret_cast<std::uintptr_t>(block.data()) / kPageBytes * 8));
  pagemap.read(reinterpret_cast<char*>(entries.data()), static_cast<std::streamsize>(entries.size() * 8));
  for (auto& entry : entries) entry &= (std::uint64_t{1} << 55) - 1;
  if (!pagemap || std::count(entries.begin(), entries.end(), 0) > 0) return {};
  return entries;
}

bool is_never(const std::string& file) {
  std::ifstream stream("/sys/kernel/mm/transparent_hugepage/" + file);
  std::string modes;
  std::getline(stream, modes);
  return modes.find("[never]") != std::string::npos;
}

bool has_huge_pages() { return !is_never("enabled") && !is_never("hugepages-2048kB/enabled"); }

CATCH_TEST_CASE("large page blocks: whole huge pages wherever they start", "[device]") {
  constexpr std::uint64_t kHugePageBytes = 2 * kMiB;
  const std::uint64_t rest_pages = GENERATE(0, 5), num_huge = GENERATE(1, 2, 5);
  std::vector<PageBlock> blocks;
  std::set<std::uint64_t> offsets;
  int num_seen = 0, num_whole = 0;
  for (int i = 0; i < 16; ++i) {
    const PageBlock& block = blocks.emplace_back(num_huge * kHugePageBytes + rest_pages * kPageBytes);
    CATCH_CHECK(
        std::all_of(block.data(), block.data() + block.bytes(), [](auto byte) { return byte == std::byte{0}; }));
    std::memset(block.data(), i + 1, block.bytes());
    offsets.insert(reinterpret_cast<std::uintptr_t>(block.data()) % kHugePageBytes);
    if (const auto frames = frames_of(block); !frames.empty()) {
      const auto breaks = [](std::uint64_t a, std::uint64_t b) { return b != a + 1; };
      std::uint64_t rows = 1;
      for (auto at = frames.begin(); (at = std::adjacent_find(at, frames.end(), breaks)) != frames.end(); ++at) ++rows;
      ++num_seen;
      num_whole += rows <= num_huge + 1 + rest_pages;  // the first is in two pieces
    }
  }
  CATCH_CHECK(offsets.size() == 16);
  for (int i = 0; i < 16; ++i) {
    const auto is_its = [&](auto byte) { return byte == static_cast<std::byte>(i + 1); };
    CATCH_CHECK(std::all_of(blocks[i].data(), blocks[i].data() + blocks[i].bytes(), is_its));
  }
  if (num_seen == 16 && has_huge_pages())
    CATCH_CHECK(num_whole >= 8);  // memory may be too scattered for some
  else
    CATCH_WARN("no physical addresses or no huge pages: not looked at");
}

}  // namespace
}  // namespace asterias::device
