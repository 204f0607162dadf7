// The examples: the loss falls, budgets hold, and the bits are those of the run without limits. What their READMEs show
// is compared by tests/docs.
#include <catch2/catch.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

// The number after the last `words` in what was printed.
double number_after(const Run& run, const std::string& words) {
  const auto at = run.out.rfind(words);
  CATCH_INFO(run.out << run.err);
  CATCH_REQUIRE(at != std::string::npos);
  return std::stod(run.out.substr(at + words.size()));
}

}  // namespace

CATCH_TEST_CASE("offload_to_nvme trains more than its DRAM holds and stays below its budget") {
  const TemporaryFolder swap;
  const Run plain = start_program("offload_to_nvme", {"null", swap.path()});
  const Run limited = start_program("offload_to_nvme", {"256MiB", swap.path()});
  CATCH_INFO(limited.out << limited.err);
  CATCH_REQUIRE(limited.exit_code == 0);
  CATCH_CHECK(number_after(limited, "model data ") > 256);
  CATCH_CHECK(number_after(limited, "peak so far ") < 256);
  CATCH_CHECK(number_after(plain, "peak so far ") > 512);
  CATCH_CHECK(number_after(limited, "step 5  loss ") < number_after(limited, "step 1  loss ") / 2);
  CATCH_CHECK(limited.last_line() == plain.last_line());
  CATCH_CHECK(is_fingerprint(limited.last_line()));
}

CATCH_TEST_CASE("offload_to_nvme refuses a budget that is too small and says which would do") {
  const TemporaryFolder swap;
  const Run refused = start_program("offload_to_nvme", {"64MiB", swap.path()});
  CATCH_CHECK(refused.exit_code == 3);
  CATCH_CHECK(refused.out.find("step 1") == std::string::npos);
  CATCH_CHECK(number_after(refused, "would do: tiers.cpu.limit ") > 64);
}

CATCH_TEST_CASE("gan_two_engines learns on an accelerator that half of its model data fits") {
  const Run ample = start_program("gan_two_engines", {"1GiB"});
  const Run limited = start_program("gan_two_engines", {"16MiB"});
  CATCH_INFO(limited.out << limited.err);
  CATCH_REQUIRE(limited.exit_code == 0);  // 1 says that the generator did not come nearer
  CATCH_CHECK(number_after(limited, "model data of ") > 2 * 16);
  CATCH_CHECK(number_after(limited, "peak on the accelerator ") <= 16);
  CATCH_CHECK(number_after(ample, "peak on the accelerator ") > 16);
  CATCH_CHECK(limited.last_line() == ample.last_line());
}

}  // namespace asterias::tests
