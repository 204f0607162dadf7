// A drive that stops taking writes in the middle of a run: a clear error, the first one for everything after, and
// nothing left behind. The fault is the process's own limit on the size of files, which the kernel reports as EFBIG.
#include <cerrno>
#include <signal.h>
#include <sys/resource.h>

#include "side_by_side.hpp"

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

}  // namespace

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
