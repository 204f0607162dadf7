#include "base/node_pool.hpp"

#include <algorithm>
#include <cstdint>
#include <malloc.h>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

namespace asterias {
namespace {

struct Record : Pooled {
  std::uint64_t values[20] = {};
};

std::vector<std::unique_ptr<Record>> make_records(std::size_t count) {
  std::vector<std::unique_ptr<Record>> records;
  for (std::size_t i = 0; i < count; ++i) records.push_back(std::make_unique<Record>());
  return records;
}

std::vector<const Record*> sorted_addresses(const std::vector<std::unique_ptr<Record>>& records) {
  std::vector<const Record*> addresses;
  for (const auto& record : records) addresses.push_back(record.get());
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

CATCH_TEST_CASE("node pool: records that live at once have memory of their own", "[base]") {
  const auto records = make_records(1000);
  const auto addresses = sorted_addresses(records);
  for (std::size_t i = 1; i < addresses.size(); ++i) CATCH_REQUIRE(addresses[i] - addresses[i - 1] >= 1);
}

#ifndef __SANITIZE_ADDRESS__  // there, it is the heap

std::size_t heap_bytes() { return mallinfo2().uordblks; }

CATCH_TEST_CASE("node pool: what died is handed out again, whichever thread freed it", "[base]") {
  const bool elsewhere = GENERATE(false, true);
  std::vector<std::unique_ptr<Record>> records = make_records(1000);
  if (elsewhere)
    std::thread([&] { records.clear(); }).join();
  else
    records.clear();
  const std::size_t before = heap_bytes();
  for (int i = 0; i < 1000; ++i) records.push_back(std::make_unique<Record>());
  CATCH_CHECK(heap_bytes() == before);
}

CATCH_TEST_CASE("node pool: a map's nodes come from those of maps before", "[base]") {
  const auto fill = [](std::pmr::map<int, std::uint64_t>& map) {
    for (int key = 0; key < 1000; ++key) map[key] = 0;
  };
  {
    std::pmr::map<int, std::uint64_t> first{node_pool()};
    fill(first);
  }
  std::pmr::map<int, std::uint64_t> second{node_pool()};
  const std::size_t before = heap_bytes();
  fill(second);
  CATCH_CHECK(heap_bytes() == before);
}

#endif

CATCH_TEST_CASE("node pool: what is shared is destroyed with its last owner", "[base]") {
  const auto counted = std::make_shared<int>(1);
  auto shared = make_shared_pooled<std::shared_ptr<int>>(counted);
  const auto other = shared;
  shared.reset();
  CATCH_CHECK(counted.use_count() == 2);
}

}  // namespace
}  // namespace asterias
