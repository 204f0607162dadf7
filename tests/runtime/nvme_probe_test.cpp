#include "runtime/nvme_probe.hpp"

#include <atomic>
#include <cerrno>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "tests/base/temporary_folder.hpp"

namespace asterias::runtime {
namespace {

// Counts what goes to the drive, and lets it fail.
class CountingCalls final : public device::FileCalls {
 public:
  std::int64_t pread(int fd, void* into, std::size_t bytes, std::uint64_t offset) override {
    read_bytes += bytes;
    return fails ? -EIO : FileCalls::pread(fd, into, bytes, offset);
  }
  std::int64_t pwrite(int fd, const void* from, std::size_t bytes, std::uint64_t offset) override {
    std::uint64_t end = offset + bytes, before = furthest;
    while (end > before && !furthest.compare_exchange_weak(before, end)) {
    }
    written_bytes += bytes;
    return FileCalls::pwrite(fd, from, bytes, offset);
  }
  std::atomic<std::uint64_t> read_bytes{0}, written_bytes{0}, furthest{0};
  std::atomic<bool> fails{false};
};

constexpr std::uint64_t kHeaderBytes = 4096;

// The calls that are counted here are the threads'.
IoConfig by_threads() {
  IoConfig io;
  io.engine = IoEngine::kThreads;
  return io;
}

CATCH_TEST_CASE("the probe reads and writes within its bounds, and leaves nothing", "[plan]") {
  const tests::TemporaryFolder folder;
  const auto calls = std::make_shared<CountingCalls>();
  CATCH_CHECK(probe_nvme({folder.path()}, by_threads(), {16 * kMiB, 0}, calls) > 0);
  CATCH_CHECK(calls->furthest <= 16 * kMiB + kHeaderBytes);
  CATCH_CHECK(calls->read_bytes >= 8 * kMiB);                 // the update's mix reads half
  CATCH_CHECK(calls->written_bytes >= 16 * kMiB + 8 * kMiB);  // the file, and half of it again
  CATCH_CHECK(calls->written_bytes <= 24 * kMiB + kHeaderBytes);
  CATCH_CHECK(folder.names().empty());
}

CATCH_TEST_CASE("the probe reads, writes, or does both, over the whole of its files", "[plan]") {
  const tests::TemporaryFolder one, other;
  const auto calls = std::make_shared<CountingCalls>();
  NvmeProbe probe({one.path(), other.path()}, by_threads(), 32 * kMiB, calls);
  const std::uint64_t written_at_first = calls->written_bytes;
  CATCH_CHECK(written_at_first == 32 * kMiB + 2 * kHeaderBytes);
  CATCH_CHECK(probe.rate(Traffic::kRead, 0) > 0);
  CATCH_CHECK(calls->read_bytes == 32 * kMiB);
  CATCH_CHECK(calls->written_bytes == written_at_first);
  CATCH_CHECK(probe.rate(Traffic::kWrite, 0) > 0);
  CATCH_CHECK(calls->read_bytes == 32 * kMiB);
  CATCH_CHECK(calls->written_bytes == written_at_first + 32 * kMiB);
  CATCH_CHECK(probe.rate(Traffic::kUpdate, 0) > 0);
  CATCH_CHECK(calls->read_bytes == 48 * kMiB);
  CATCH_CHECK(calls->written_bytes == written_at_first + 48 * kMiB);
}

CATCH_TEST_CASE("folders share the probe's bytes", "[plan]") {
  const tests::TemporaryFolder one, other;
  const auto calls = std::make_shared<CountingCalls>();
  CATCH_CHECK(probe_nvme({one.path(), other.path()}, by_threads(), {32 * kMiB, 0}, calls) > 0);
  CATCH_CHECK(calls->furthest <= 16 * kMiB + kHeaderBytes);
}

CATCH_TEST_CASE("a budget too small for a probe gives no rate", "[plan]") {
  const tests::TemporaryFolder folder;
  CATCH_CHECK(probe_nvme({folder.path()}, {}, {kMiB, 0}) == 0);
  CATCH_CHECK(probe_nvme({}, {}, {}) == 0);
  CATCH_CHECK(folder.names().empty());
}

CATCH_TEST_CASE("a drive that fails is an IoError, and leaves nothing", "[plan][fault]") {
  const tests::TemporaryFolder folder;
  const auto calls = std::make_shared<CountingCalls>();
  calls->fails = true;
  CATCH_CHECK_THROWS_AS(probe_nvme({folder.path()}, by_threads(), {16 * kMiB, 0}, calls), IoError);
  CATCH_CHECK(folder.names().empty());
}

}  // namespace
}  // namespace asterias::runtime
