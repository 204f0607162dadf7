#include "evict/step_clock.hpp"

#include <catch2/catch.hpp>

namespace asterias::evict::tests {
namespace {

// Boundaries of which the test says when they are.
class Steps {
 public:
  void add(std::uint64_t hash) { clock.add_operator(script, {true, num_passes_}, hash, now_); }
  void begin(std::uint64_t hash) { clock.begin_operator(script, {true, num_passes_}, hash, now_); }
  void begin_pass() { ++num_passes_; }
  void end_pass() { clock.stop(now_); }
  void end_step() {
    clock.stop(now_);
    clock.end_step(num_passes_);
  }
  void wait(std::uint64_t ns) {
    work(ns);
    now_.stalled_ns += ns;
  }
  void work(std::uint64_t ns) { now_.time += std::chrono::nanoseconds(ns); }
  std::uint64_t ns(std::size_t at) const { return script.operators[at].ns; }
  StepClock::Now now() const { return now_; }

  PassScript script;
  StepClock clock;

 private:
  StepClock::Now now_{};
  std::uint64_t num_passes_ = 0;
};

// Two passes of two operators, which take 100 and 200, then 300 and 400.
void record(Steps& steps) {
  for (const std::uint64_t pass : {0, 2}) {
    steps.begin_pass();
    steps.add(pass);
    steps.work(100 * (pass + 1));
    steps.add(pass + 1);
    steps.work(100 * (pass + 2));
    steps.end_pass();
    steps.work(5000);  // the caller's own
  }
  steps.end_step();
}

CATCH_TEST_CASE("step clock: an operator lasts until the next, a pass' last until it ends", "[evict]") {
  Steps steps;
  record(steps);
  CATCH_CHECK(steps.script.pass_starts == std::vector<std::size_t>{0, 2});
  for (std::size_t at = 0; at < 4; ++at) CATCH_CHECK(steps.ns(at) == 100 * (at + 1));
}

CATCH_TEST_CASE("step clock: waiting is no work", "[evict]") {
  Steps steps;
  steps.begin_pass();
  steps.add(0);
  steps.work(30);
  steps.wait(1000);
  steps.work(12);
  steps.end_pass();
  CATCH_CHECK(steps.ns(0) == 42);
}

CATCH_TEST_CASE("step clock: until the third step the last one counts, from then on all but the first two", "[evict]") {
  Steps steps;
  record(steps);
  const std::pair<std::uint64_t, std::uint64_t> measured_and_mean[] = {{10, 10}, {20, 20}, {60, 40}, {100, 60}};
  for (const auto& [measured, mean] : measured_and_mean) {
    steps.begin_pass();
    steps.begin(0);
    steps.work(measured);
    steps.begin(1);
    steps.end_pass();
    steps.end_step();
    CATCH_CHECK(steps.ns(0) == mean);
  }
  CATCH_CHECK(steps.ns(1) == 0);
  CATCH_CHECK(steps.ns(2) == 300);
}

CATCH_TEST_CASE("step clock: a pass that leaves the script is not measured from there on", "[evict]") {
  Steps steps;
  record(steps);
  steps.begin_pass();
  steps.begin(0);
  steps.work(7);
  steps.begin(99);
  steps.work(8);
  steps.begin(1);
  steps.work(9);
  steps.end_pass();
  CATCH_CHECK(steps.ns(0) == 7);
  CATCH_CHECK(steps.ns(1) == 200);
  steps.begin_pass();  // the second pass of the step is known again
  steps.begin(2);
  steps.work(5);
  steps.end_pass();
  steps.begin_pass();  // a third was never seen
  steps.begin(0);
  steps.work(5);
  steps.end_step();
  CATCH_CHECK(steps.ns(2) == 5);
  CATCH_CHECK(steps.ns(0) == 7);
}

CATCH_TEST_CASE("step clock: what is outside of passes takes no time, the update does", "[evict]") {
  Steps steps;
  record(steps);
  steps.clock.add_operator(steps.script, {false, 2}, 9, steps.now());
  steps.work(1000);
  steps.clock.begin_step_call(steps.script, steps.now());
  steps.work(3);
  steps.clock.begin_operator(steps.script, {false, 2}, 9, steps.now());  // the gradient norm's
  steps.work(4);
  steps.clock.begin_update(steps.script, 1, steps.now());
  steps.work(50);
  steps.wait(20);
  steps.clock.begin_update(steps.script, 0, steps.now());
  steps.work(60);
  steps.end_step();
  CATCH_CHECK(steps.ns(4) == 0);
  CATCH_CHECK(steps.script.before_update.ns == 7);
  CATCH_CHECK(steps.script.updates.at(1).ns == 50);
  CATCH_CHECK(steps.script.updates.at(0).ns == 60);
}

}  // namespace
}  // namespace asterias::evict::tests
