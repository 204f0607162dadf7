#include "device/copy_stream.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sys/prctl.h>
#include <thread>
#include <utility>

#include "device/work_queue.hpp"

namespace asterias::device {
namespace {

using Clock = std::chrono::steady_clock;

struct Copy {
  std::byte* to;
  const std::byte* from;
  std::size_t bytes;
  Clock::time_point deadline;
  Ticket::Promise promise;
};

}  // namespace

struct CopyStream::State {
  explicit State(std::uint64_t rate) : bytes_per_second(rate), worker([this] { work(); }) {}
  ~State();

  Clock::time_point next_deadline(std::size_t bytes);
  void work();

  const std::uint64_t bytes_per_second;
  WorkQueue<Copy> queue;
  Clock::time_point last_deadline{};
  std::thread worker;  // the last member: it starts when the others are there
};

CopyStream::State::~State() {
  queue.close();
  worker.join();
}

// Counted from the moment of submission, not of the memcpy: the worker's own wake-ups must not slow the declared link
// down.
Clock::time_point CopyStream::State::next_deadline(std::size_t bytes) {
  const auto now = Clock::now();
  if (bytes_per_second == 0) return now;
  const std::chrono::duration<double> on_the_link(static_cast<double>(bytes) / static_cast<double>(bytes_per_second));
  last_deadline = std::max(now, last_deadline) + std::chrono::duration_cast<Clock::duration>(on_the_link);
  return last_deadline;
}

void CopyStream::State::work() {
  prctl(PR_SET_TIMERSLACK, 1000UL);  // ns; the default of 50 us is the whole time of a 1 MiB copy at 20 GB/s
  for (Copy copy{}; queue.take(copy);) {
    copy.promise.begin();
    if (copy.bytes > 0) std::memcpy(copy.to, copy.from, copy.bytes);
    if (bytes_per_second > 0) std::this_thread::sleep_until(copy.deadline);
    copy.promise.complete();
  }
}

CopyStream::CopyStream(std::uint64_t bytes_per_second) : state_(std::make_unique<State>(bytes_per_second)) {}

CopyStream::~CopyStream() = default;

Ticket CopyStream::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  Ticket::Promise promise;
  Ticket ticket = promise.ticket();
  state_->queue.push([&] { return Copy{to, from, bytes, state_->next_deadline(bytes), std::move(promise)}; });
  return ticket;
}

}  // namespace asterias::device
