// A program of its own: it measures the whole process.
#include "base/process_memory.hpp"

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/library_pages.hpp"

namespace asterias {
namespace {

constexpr std::size_t kTableBytes = 16 * kMiB;
alignas(2 * kMiB) extern const unsigned char read_only_table[kTableBytes] = {1, 2, 3};

std::uint64_t sum_of_table() {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kTableBytes; ++i) sum += const_cast<const volatile unsigned char&>(read_only_table[i]);
  return sum;
}

void* map_and_fill(std::uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CATCH_REQUIRE(memory != MAP_FAILED);
  return std::memset(memory, 1, bytes);
}

CATCH_TEST_CASE("the resident set follows what is touched and given back", "[base]") {
  const std::uint64_t before = resident_set_bytes();
  void* const memory = map_and_fill(64 * kMiB);
  const std::uint64_t with = resident_set_bytes();
  munmap(memory, 64 * kMiB);
  CATCH_CHECK(with >= before + 63 * kMiB);
  CATCH_CHECK(with <= before + 65 * kMiB);
  CATCH_CHECK(resident_set_bytes() <= before + kMiB);
}

CATCH_TEST_CASE("the peak is kept until it is reset", "[base]") {
  const std::uint64_t before = resident_set_bytes();
  munmap(map_and_fill(64 * kMiB), 64 * kMiB);
  CATCH_CHECK(peak_resident_set_bytes() >= before + 63 * kMiB);
  if (!reset_peak_resident_set()) {
    CATCH_WARN("the kernel does not let this process reset its peak");
    return;
  }
  CATCH_CHECK(peak_resident_set_bytes() <= before + 8 * kMiB);
}

CATCH_TEST_CASE("pages of program and libraries are given back, and come again when they are read", "[base]") {
  const std::uint64_t before = resident_set_bytes();
  CATCH_CHECK(sum_of_table() == 6);
  CATCH_CHECK(resident_set_bytes() >= before + kTableBytes - kMiB);
  release_library_pages();
  CATCH_CHECK(resident_set_bytes() <= before + kMiB);
  CATCH_CHECK(sum_of_table() == 6);
}

CATCH_TEST_CASE("a page of the program that was written to keeps what was written", "[base]") {
  auto* const page = const_cast<unsigned char*>(read_only_table) + kTableBytes / 2;
  const auto page_bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  CATCH_REQUIRE(mprotect(page, page_bytes, PROT_READ | PROT_WRITE) == 0);
  const_cast<volatile unsigned char&>(*page) = 7;
  CATCH_REQUIRE(mprotect(page, page_bytes, PROT_READ) == 0);
  release_library_pages();
  CATCH_CHECK(sum_of_table() == 13);
}

CATCH_TEST_CASE("the limit is no more than the machine and no less than what is available", "[base]") {
  CATCH_CHECK(memory_limit_bytes() > 0);
  CATCH_CHECK(memory_available_bytes() > 0);
  CATCH_CHECK(memory_available_bytes() <= memory_limit_bytes());
}

}  // namespace
}  // namespace asterias
