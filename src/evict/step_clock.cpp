#include "evict/step_clock.hpp"

#include <utility>

namespace asterias::evict {

void StepClock::add_operator(PassScript& script, Place place, std::uint64_t hash, Now now) {
  if (place.in_pass) stop(now);
  script.operators.push_back({hash, 0, 0});
  if (!place.in_pass) return;
  if (begin_pass(place.num_passes)) script.pass_starts.push_back(script.operators.size() - 1);
  start(script.operators.back(), now);
}

void StepClock::begin_operator(PassScript& script, Place place, std::uint64_t hash, Now now) {
  if (!place.in_pass) return;
  stop(now);
  const bool is_first = begin_pass(place.num_passes);
  const std::uint64_t pass = place.num_passes - num_passes_before_ - 1;
  if (is_first) {
    position_ = 0;
    is_known_ = true;
  }
  is_known_ = is_known_ && pass < script.pass_starts.size();
  if (!is_known_) return;
  const std::size_t at = script.pass_starts[pass] + position_++;
  is_known_ = at < script.operators.size() && script.operators[at].hash == hash;
  if (is_known_) start(script.operators[at], now);
}

void StepClock::begin_step_call(PassScript& script, Now now) {
  stop(now);
  start(script.before_update, now);
}

void StepClock::begin_update(PassScript& script, std::size_t index, Now now) {
  stop(now);
  if (index >= script.updates.size()) script.updates.resize(index + 1);
  start(script.updates[index], now);
}

void StepClock::start(PassScript::Work& work, Now now) {
  work_ = &work;
  start_ = now;
}

void StepClock::stop(Now now) {
  auto* work = std::exchange(work_, nullptr);
  if (!work) return;
  const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(now.time - start_.time).count());
  const std::uint64_t stalled_ns = now.stalled_ns - start_.stalled_ns;
  work->measure(ns > stalled_ns ? ns - stalled_ns : 0);
}

// True for the first operator of a pass.
bool StepClock::begin_pass(std::uint64_t num_passes) { return std::exchange(num_passes_, num_passes) != num_passes; }

}  // namespace asterias::evict
