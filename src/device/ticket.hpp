// The receipt of one asynchronous transfer.
//
// A Ticket is the only way to learn that bytes have arrived, and the only place where the transfer's failure waits.
// Transfers complete on threads of their own without any lock that a waiter may hold.
//
// Invariants
//   * A transfer's memory outlives its ticket: the destructor blocks until the transfer has ended (its error is
//     dropped).
//   * wait() returns or throws the same thing every time.
//   * started_at() <= ended_at(): what the drive or the link did, however late somebody looks.
//   * Whoever waits says so first (hurry), so a transfer that is waited for can go before those that are not.
//
// Threading: one owner; the completing side is on another thread. Move-only.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <memory>

#include "device/stream_point.hpp"

namespace asterias::device {

class Ticket {
 public:
  using Clock = std::chrono::steady_clock;

  // What stands in a queue and may go to its front.
  class Queued {
   public:
    virtual void hurry() noexcept = 0;  // called from any thread, also after completion, and more than once
    // Called by who is about to block: where no other thread completes anything, goes on to the next end of a transfer.
    virtual bool pass_time() noexcept { return false; }

   protected:
    ~Queued() = default;
  };

  // The side that completes. One call to complete() in all, from any thread.
  class Promise {
   public:
    Promise();
    // Notes that the transfer leaves its queue and starts. Without a call it started when the promise was made.
    void begin() noexcept;
    void complete(std::exception_ptr error = nullptr) noexcept;
    // Has `queued` told when somebody waits. REQUIRES: before ticket().
    void tell_when_awaited(std::weak_ptr<Queued> queued) noexcept;
    // Names the point that a stream may wait for in place of the host. REQUIRES: before ticket().
    void set_point(SharedPoint point) noexcept;
    Ticket ticket() const;  // REQUIRES: called once, before complete() may be.

   private:
    friend class Ticket;
    struct State;
    std::shared_ptr<State> state_;
  };

  Ticket() = default;  // an already completed transfer
  Ticket(Ticket&&) noexcept = default;
  Ticket& operator=(Ticket&& other) noexcept;
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  ~Ticket();

  // True once the transfer has ended, well or badly. Never blocks.
  bool done() const noexcept;

  // When the transfer started and ended. REQUIRES: done(), and not the ticket of a transfer that never was.
  Clock::time_point started_at() const noexcept;
  Clock::time_point ended_at() const noexcept;
  bool is_of_transfer() const noexcept { return state_ != nullptr; }

  // What a stream may wait for in place of the host; null where only the host can (a drive's transfer, a thread's
  // copy).
  SharedPoint point() const noexcept;

  // Says that somebody waits, as wait() and the destructor do by themselves. Never blocks on the transfer.
  void hurry() const noexcept;

  // Blocks until the transfer has ended; throws its error, if it has one.
  void wait();

  // Blocks until `holds()`, which is asked at once and whenever a transfer has ended, whosesoever it is. REQUIRES: the
  // transfer has not ended, or `holds()`.
  void wait_until(const std::function<bool()>& holds) const;

 private:
  std::shared_ptr<Promise::State> state_;
};

}  // namespace asterias::device
