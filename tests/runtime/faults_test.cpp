// A drive that fails in the middle of a run: a clear error, the first one for everything after, and nothing left
// behind. Two kinds of faults: the process's own limit on the size of files, which the kernel reports as EFBIG, and
// those of tests/faults. tests/tools/bad_luck_test.cpp does the same through the program.
#include <cerrno>
#include <filesystem>
#include <functional>
#include <signal.h>
#include <sys/resource.h>

#include "side_by_side.hpp"
#include "tests/base/temporary_folder.hpp"
#include "tests/faults/system_call_faults.hpp"

namespace asterias::test {
namespace {

// No file of this process may grow beyond `bytes` while this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_before_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_before_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_before_;
};

// 96 MiB of model data, so that DRAM can be limited by more than the libraries' memory varies.
Deep make_deepest() { return Deep(1440); }

template <class Run>
void two_steps(Run& run) {
  for (int i = 0; i < 2; ++i) train_step(run, i);
}

// Every operator writes all it has to the drive and reads it back.
EngineConfig swapping(const tests::TemporaryFolder& folder) {
  auto config = adamw_config();
  config.tiers.nvme.paths = {folder.path()};
  config.debug.evict_always = true;
  return config;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const IoError& error) {
    return error.what();
  }
  return "no IoError";
}

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "the first failure of a drive is what every later call throws", "[faults]") {
  const tests::TemporaryFolder swap;
  constexpr auto loop = [](auto& run) { two_steps(run); };
  const auto plain = run_plain(adamw_config(), make_deep, loop);
  tests::FaultOrders reading, writing;
  reading.fail_read = 50;
  writing.fail_write = 50;
  for (const auto& orders : {reading, writing}) {
    {
      auto made = initialize_engine(make_deep, swapping(swap));
      EngineRun<DeepImpl> run{made.engine, made.optimizer, made.engine.module(), {}};
      std::string first;
      {
        const tests::Faults faults(orders);
        first = message_of([&] { two_steps(run); });
      }
      CATCH_INFO(first);
      CATCH_CHECK(first.find("/asterias-") != std::string::npos);
      CATCH_CHECK(first.find(" at offset ") != std::string::npos);
      CATCH_CHECK(message_of([&] { made.engine(batch(0)); }) == first);
      CATCH_CHECK(message_of([&] { made.engine.backward(torch::zeros({})); }) == first);
      CATCH_CHECK(message_of([&] { made.optimizer.step(); }) == first);
      CATCH_CHECK(message_of([&] { made.engine.fingerprint(); }) == first);
      CATCH_CHECK(message_of([&] { made.engine.parameter("layer0.weight"); }) == first);
    }
    CATCH_CHECK(std::filesystem::is_empty(swap.path()));
    CATCH_CHECK(difference(plain, run_engine(swapping(swap), make_deep, loop).outcome) == "");
  }
}

CATCH_TEST_CASE_METHOD(OneThread, "a drive that is slow, short and interrupted changes no bit", "[faults]") {
  const tests::TemporaryFolder swap;
  constexpr auto loop = [](auto& run) { two_steps(run); };
  const auto plain = run_plain(adamw_config(), make_deep, loop);
  tests::FaultOrders orders;
  orders.short_transfers = orders.interrupted = true;
  orders.io_delay_us = 300;
  const tests::Faults faults(orders);
  CATCH_CHECK(difference(plain, run_engine(swapping(swap), make_deep, loop).outcome) == "");
}

CATCH_TEST_CASE_METHOD(OneThread, "a drive that refuses writes ends the run with its first error", "[faults]") {
  constexpr auto loop = [](auto& run) { two_steps(run); };
  const auto plain = run_plain(adamw_config(), make_deepest, loop);
  auto config = simulated(adamw_config(), kAmple);
  config.tiers.gpu.limit.bytes = tight_bytes(run_engine(config, make_deepest, loop).plan);
  const Plan probe = run_engine(config, make_deepest, loop).plan;  // without what else the run returns: it would count
  config.tiers.cpu.limit.bytes = tier_plan(probe, Tier::kCpu).smallest_bytes;
  bool has_failed = false;
  {
    auto made = initialize_engine(make_deepest, config);
    const FileSizeLimit full(1 << 20);
    EngineRun<DeepImpl> run{made.engine, made.optimizer, made.engine.module(), {}};
    for (int attempt = 0; attempt < 3; ++attempt) try {
        train_step(run, 0);
        CATCH_FAIL("nothing was written");
      } catch (const IoError& error) {
        CATCH_CHECK(error.error_number() == EFBIG);
        has_failed = true;
      }
  }
  CATCH_CHECK(has_failed);
  CATCH_CHECK(difference(plain, run_engine(config, make_deepest, loop).outcome) == "");
}

}  // namespace asterias::test
