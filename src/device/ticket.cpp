#include "device/ticket.hpp"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/node_pool.hpp"

namespace asterias::device {

namespace {

// Who waits for the end of any transfer.
struct Ends {
  std::atomic<int> num_waiting{0};
  std::mutex mutex;
  std::condition_variable changed;

  void tell() {
    if (num_waiting.load() == 0) return;
    { const std::lock_guard lock(mutex); }  // who has just looked waits by now
    changed.notify_all();
  }

  void wait_until(const std::function<bool()>& holds) {
    num_waiting.fetch_add(1);
    std::unique_lock lock(mutex);
    changed.wait(lock, holds);
    num_waiting.fetch_sub(1);
  }
};
Ends ends;

}  // namespace

// `done` is set under the mutex and read without: once true, nothing else ever changes again.
struct Ticket::Promise::State {
  std::mutex mutex;
  std::condition_variable ended;
  std::atomic<bool> done{false};
  std::atomic<bool> ticket_taken{false};
  std::exception_ptr error;
  Clock::time_point started_at = Clock::now();
  Clock::time_point ended_at;
  std::weak_ptr<Queued> queued;  // set, as the point, before there is a ticket
  SharedPoint point;

  void hurry() const noexcept {
    if (done.load(std::memory_order_acquire)) return;
    if (const auto transfer = queued.lock()) transfer->hurry();
  }

  bool pass_time() const noexcept {
    const auto transfer = queued.lock();
    return transfer && transfer->pass_time();
  }

  void wait() {
    hurry();
    while (!done.load(std::memory_order_acquire) && pass_time()) continue;
    if (done.load(std::memory_order_acquire)) return;
    std::unique_lock lock(mutex);
    ended.wait(lock, [this] { return done.load(std::memory_order_relaxed); });
  }
};

Ticket::Promise::Promise() : state_(make_shared_pooled<State>()) {}

void Ticket::Promise::tell_when_awaited(std::weak_ptr<Queued> queued) noexcept { state_->queued = std::move(queued); }

void Ticket::Promise::set_point(SharedPoint point) noexcept { state_->point = std::move(point); }

void Ticket::Promise::begin() noexcept {
  const std::lock_guard lock(state_->mutex);
  state_->started_at = Clock::now();
}

void Ticket::Promise::complete(std::exception_ptr error) noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->done.load(std::memory_order_relaxed)) {
      // The owner may have reused the memory since the first completion: there is no safe way on.
      log::error("a transfer completed twice (this is a bug in Asterias; please report it)");
      std::terminate();
    }
    state_->error = std::move(error);
    state_->ended_at = Clock::now();
    state_->done.store(true);
    state_->ended.notify_all();
  }
  ends.tell();
}

Ticket Ticket::Promise::ticket() const {
  if (state_->ticket_taken.exchange(true))
    throw StateError(StateError::Cause::kBug, "a transfer was asked for a second ticket");
  Ticket ticket;
  ticket.state_ = state_;
  return ticket;
}

Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  if (state_) state_->wait();
  state_ = std::move(other.state_);
  return *this;
}

Ticket::~Ticket() {
  if (state_) state_->wait();
}

// In one order with `num_waiting`: who does not see the end is seen waiting.
bool Ticket::done() const noexcept { return !state_ || state_->done.load(); }

Ticket::Clock::time_point Ticket::started_at() const noexcept { return state_->started_at; }
Ticket::Clock::time_point Ticket::ended_at() const noexcept { return state_->ended_at; }

SharedPoint Ticket::point() const noexcept { return state_ ? state_->point : nullptr; }

void Ticket::hurry() const noexcept {
  if (state_) state_->hurry();
}

void Ticket::wait_until(const std::function<bool()>& holds) const {
  while (!holds())
    if (!state_ || !state_->pass_time()) return ends.wait_until(holds);
}

void Ticket::wait() {
  if (!state_) return;
  state_->wait();
  if (state_->error) std::rethrow_exception(state_->error);
}

}  // namespace asterias::device
