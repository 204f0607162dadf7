// The receipt of one asynchronous transfer.
//
// A Ticket is the only way to learn that bytes have arrived, and the only place where the transfer's failure waits.
// Transfers complete on threads of their own without any lock that a waiter may hold.
//
// Invariants
//   * A transfer's memory outlives its ticket: the destructor blocks until the transfer has ended (its error is
//     dropped).
//   * wait() returns or throws the same thing every time.
//
// Threading: one owner; the completing side is on another thread. Move-only.
#pragma once

#include <exception>
#include <memory>

namespace asterias::device {

class Ticket {
 public:
  // The side that completes. One call to complete() in all, from any thread.
  class Promise {
   public:
    Promise();
    void complete(std::exception_ptr error = nullptr) noexcept;
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

  // Blocks until the transfer has ended; throws its error, if it has one.
  void wait();

 private:
  std::shared_ptr<Promise::State> state_;
};

}  // namespace asterias::device
