#include "runtime/nvme_record.hpp"

#include <cerrno>
#include <filesystem>
#include <fstream>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "tests/base/temporary_folder.hpp"

namespace asterias::runtime {
namespace {

constexpr std::int64_t kNow = 1'800'000'000;

IoConfig deeper() {
  IoConfig io;
  io.queue_depth = 32;
  return io;
}

NvmeRates rates_at(const IoConfig& io, double update) {
  NvmeRates rates;
  rates.io = io;
  rates.update_bytes_per_second = update;
  return rates;
}

// A folder with a record of two settings.
struct Kept {
  Kept() { CATCH_REQUIRE(NvmeRecord({folder.path()}, kNow).keep({rates_at({}, 2e9), rates_at(deeper(), 3e9)}) == 0); }

  std::optional<double> found(const IoConfig& io, std::int64_t now = kNow) const {
    return NvmeRecord({folder.path()}, now).update_rate(io);
  }
  void change(const char* pointer, const nlohmann::json& value) const {
    const std::string path = folder.path() + "/" + NvmeRecord::kFileName;
    auto json = nlohmann::json::parse(std::ifstream(path));
    json[nlohmann::json::json_pointer(pointer)] = value;
    std::ofstream(path) << json;
  }

  tests::TemporaryFolder folder;
};

CATCH_TEST_CASE("what was measured of a drive is found again by its settings", "[plan]") {
  const Kept kept;
  CATCH_CHECK(kept.found({}) == 2e9);
  CATCH_CHECK(kept.found(deeper()) == 3e9);
  for (const auto change :
       {+[](IoConfig& io) { io.engine = IoEngine::kThreads; }, +[](IoConfig& io) { io.block_bytes = kMiB; },
        +[](IoConfig& io) { io.queue_depth = 9; }, +[](IoConfig& io) { io.direct = false; }}) {
    IoConfig io;
    change(io);
    CATCH_CHECK_FALSE(kept.found(io));
  }
  CATCH_CHECK(kept.folder.names() == std::vector<std::string>{NvmeRecord::kFileName});
}

CATCH_TEST_CASE("a drive measured again replaces what it replaces", "[plan]") {
  const Kept kept;
  NvmeRates again = rates_at(deeper(), 4e9);
  again.read_bytes_per_second = 5e9;
  CATCH_CHECK(NvmeRecord({kept.folder.path()}, kNow + 5).keep({again}) == 0);
  CATCH_CHECK(kept.found({}, kNow + 5) == 2e9);
  CATCH_CHECK(kept.found(deeper(), kNow + 5) == 4e9);
  const NvmeRecord record({kept.folder.path()}, kNow + 5);
  CATCH_REQUIRE(record.rates().size() == 2);
  CATCH_CHECK(record.rates().back().read_bytes_per_second == 5e9);
  CATCH_CHECK_FALSE(record.rates().back().write_bytes_per_second);
}

CATCH_TEST_CASE("what was measured of a drive grows old", "[plan]") {
  const Kept kept;
  CATCH_CHECK(kept.found({}, kNow + NvmeRecord::kLifeSeconds - 1));
  CATCH_CHECK_FALSE(kept.found({}, kNow + NvmeRecord::kLifeSeconds));
  CATCH_CHECK_FALSE(kept.found({}, kNow - 1));  // a clock that was put back
}

CATCH_TEST_CASE("what was measured of another drive, or by another version, does not count", "[plan]") {
  const Kept kept;
  kept.change("/rates/0/measured_at", kNow);
  CATCH_CHECK(kept.found({}));
  const char* const pointer = GENERATE("/version", "/folders/0/device", "/folders/0/file_system/0", "/folders/0/path");
  kept.change(pointer, "other");
  CATCH_CHECK_FALSE(kept.found({}));
}

CATCH_TEST_CASE("one folder's record is not that of two", "[plan]") {
  const Kept kept;
  const tests::TemporaryFolder other;
  CATCH_CHECK_FALSE(NvmeRecord({kept.folder.path(), other.path()}, kNow).update_rate({}));
}

CATCH_TEST_CASE("a record that cannot be read is none", "[plan][fault]") {
  const Kept kept;
  const auto broken = GENERATE(as<std::string>(), "", "{", "[]", "null", R"({"version": 1})", "\xff");
  kept.folder.add(NvmeRecord::kFileName, broken);
  CATCH_CHECK_FALSE(kept.found({}));
}

CATCH_TEST_CASE("a record with a senseless entry is none", "[plan][fault]") {
  const Kept kept;
  kept.change(GENERATE("/rates/0/engine", "/rates/0/block_size", "/rates/1/update_bytes_per_second"), "other");
  CATCH_CHECK_FALSE(kept.found({}));
}

CATCH_TEST_CASE("a folder that takes no record says why", "[plan][fault]") {
  CATCH_CHECK(NvmeRecord({"/proc/no/folder"}, kNow).keep({rates_at({}, 1e9)}) == ENOENT);
}

}  // namespace
}  // namespace asterias::runtime
