#include "tests/device/block_file_suite.hpp"

namespace asterias::device::tests {
namespace {

std::unique_ptr<BlockFile> make(const std::string& directory, BlockFileOptions options,
                                std::shared_ptr<FileCalls> calls) {
  options.engine = IoEngine::kThreads;
  return create_swap_file(directory, options, std::move(calls));
}

CATCH_TEST_CASE("thread block file: random traffic", "[device]") { check_random_traffic(make); }
CATCH_TEST_CASE("thread block file: short transfers", "[device][fault]") { check_short_transfers(make); }
CATCH_TEST_CASE("thread block file: alignment", "[device]") { check_alignment(make); }
CATCH_TEST_CASE("thread block file: end of file", "[device]") { check_end_of_file(make); }
CATCH_TEST_CASE("thread block file: grow", "[device]") { check_grow(make); }
CATCH_TEST_CASE("thread block file: full drive", "[device][fault]") { check_full_drive(make); }
CATCH_TEST_CASE("thread block file: errors in flight", "[device][fault]") { check_errors_in_flight(make); }
CATCH_TEST_CASE("thread block file: failed request", "[device][fault]") {
  check_failed_request_waits_for_its_blocks(make);
}
CATCH_TEST_CASE("thread block file: destructor waits", "[device]") { check_destructor_waits(make); }
CATCH_TEST_CASE("thread block file: many submitters", "[device]") { check_many_submitters(make); }
CATCH_TEST_CASE("thread block file: overflow", "[device]") { check_overflow(make); }
CATCH_TEST_CASE("thread block file: priorities", "[device]") { check_priorities(make); }
CATCH_TEST_CASE("thread block file: even blocks", "[device]") { check_even_blocks(make); }
CATCH_TEST_CASE("thread block file: hurry at the end", "[device]") { check_hurry_at_the_end(make); }

CATCH_TEST_CASE("thread block file: options out of range are all named", "[device]") {
  const asterias::tests::TemporaryFolder folder;
  try {
    make(folder.path(), {0, 1000, true}, std::make_shared<FileCalls>());
    CATCH_FAIL("it was made");
  } catch (const ConfigError& error) {
    CATCH_CHECK(error.complaints().size() == 2);
  }
  CATCH_CHECK(folder.names().empty());
}

}  // namespace
}  // namespace asterias::device::tests
