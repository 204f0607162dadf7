#include <cerrno>
#include <system_error>

#include "device/io_ring.hpp"
#include "tests/base/captured_stderr.hpp"
#include "tests/device/block_file_suite.hpp"

namespace asterias::device::tests {
namespace {

using asterias::tests::CapturedStderr;
using asterias::tests::count_of;
using asterias::tests::TemporaryFolder;

// Buffered files, which the suite asks for as well, are the threads'.
std::unique_ptr<BlockFile> make(const std::string& directory, BlockFileOptions options,
                                std::shared_ptr<FileCalls> calls) {
  options.engine = options.direct ? IoEngine::kIoUring : IoEngine::kAuto;
  return create_swap_file(directory, options, std::move(calls));
}

bool is_allowed() {
  try {
    open_io_ring(1);
    return true;
  } catch (const std::system_error& refusal) {
    CATCH_WARN("not tested: " << refusal.what());
    return false;
  }
}

void run(void (*check)(const MakeBlockFile&)) {
  if (is_allowed()) check(make);
}

CATCH_TEST_CASE("ring block file: random traffic", "[device]") { run(check_random_traffic); }
CATCH_TEST_CASE("ring block file: short transfers", "[device][fault]") { run(check_short_transfers); }
CATCH_TEST_CASE("ring block file: alignment", "[device]") { run(check_alignment); }
CATCH_TEST_CASE("ring block file: end of file", "[device]") { run(check_end_of_file); }
CATCH_TEST_CASE("ring block file: grow", "[device]") { run(check_grow); }
CATCH_TEST_CASE("ring block file: full drive", "[device][fault]") { run(check_full_drive); }
CATCH_TEST_CASE("ring block file: errors in flight", "[device][fault]") { run(check_errors_in_flight); }
CATCH_TEST_CASE("ring block file: failed request", "[device][fault]") {
  run(check_failed_request_waits_for_its_blocks);
}
CATCH_TEST_CASE("ring block file: destructor waits", "[device]") { run(check_destructor_waits); }
CATCH_TEST_CASE("ring block file: many submitters", "[device]") { run(check_many_submitters); }
CATCH_TEST_CASE("ring block file: overflow", "[device]") { run(check_overflow); }
CATCH_TEST_CASE("ring block file: priorities", "[device]") { run(check_priorities); }
CATCH_TEST_CASE("ring block file: even blocks", "[device]") { run(check_even_blocks); }
CATCH_TEST_CASE("ring block file: hurry at the end", "[device]") { run(check_hurry_at_the_end); }

CATCH_TEST_CASE("without io_uring, auto reads and writes with threads and says so once", "[device][fault]") {
  for (const int error_number : {EPERM, ENOSYS, ENOMEM, EMFILE}) {
    const CapturedStderr said;
    BlockFileUnderTest test([error_number](const std::string& directory, const BlockFileOptions& options,
                                           std::shared_ptr<FileCalls> calls) {
      dynamic_cast<FaultyFileCalls&>(*calls).ring_error = error_number;
      return create_swap_file(directory, options, std::move(calls));
    });
    RandomTraffic traffic(*test.file, kMiB, 7);
    traffic.round();
    CATCH_CHECK(count_of(said.text(), "io_uring cannot be used") == 1);
    CATCH_CHECK(count_of(said.text(), std::strerror(error_number)) == 1);
    CATCH_CHECK(count_of(said.text(), "\n") == 1);
  }
}

CATCH_TEST_CASE("io_uring that was asked for and cannot be had is a configuration error", "[device][fault]") {
  const TemporaryFolder folder;
  const auto calls = std::make_shared<FaultyFileCalls>();
  calls->ring_error = EPERM;
  BlockFileOptions options;
  options.engine = IoEngine::kIoUring;
  CATCH_CHECK_THROWS_WITH(create_swap_file(folder.path(), options, calls), Catch::Contains("seccomp"));
  options.direct = false;
  CATCH_CHECK_THROWS_WITH(create_swap_file(folder.path(), options, calls), Catch::Contains("O_DIRECT"));
  CATCH_CHECK(folder.names().empty());
}

}  // namespace
}  // namespace asterias::device::tests
