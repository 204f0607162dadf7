#include "tools/train_command.hpp"

#include <chrono>
#include <cstdio>

#include <asterias/run_log.h>

#include "tools/train_report.hpp"
#include "tools/training_job.hpp"

namespace asterias::tools {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

ExitCode run_train(const TrainOptions& options) {
  const auto start = Clock::now();
  RunLog log(options.log_dir, options.config);
  TrainReport report(options);
  TrainingJob job(options);
  report.print_header(job.plan(), job.data_bytes(), job.num_threads());

  for (std::int64_t step = 0; step < options.steps; ++step) {
    const auto step_start = Clock::now();
    job.begin_step();
    for (std::int64_t pass = 0; pass < options.accumulate; ++pass) job.run_pass();
    job.update();
    report.print_step(job.stats(), ms_since(step_start));
    log.add(job.stats());
  }

  const std::uint64_t fingerprint = job.fingerprint();
  report.print_summary(ms_since(start) / 1e3);
  std::printf("fingerprint %016llx\n", static_cast<unsigned long long>(fingerprint));
  return ExitCode::kDone;
}

}  // namespace asterias::tools
