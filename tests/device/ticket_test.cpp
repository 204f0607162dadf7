#include "device/ticket.hpp"

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>
#include <utility>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias::device {
namespace {

std::exception_ptr failure() { return std::make_exception_ptr(std::runtime_error("torn")); }

CATCH_TEST_CASE("an empty ticket is done", "[device]") {
  Ticket ticket;
  CATCH_CHECK(ticket.done());
  ticket.wait();
}

CATCH_TEST_CASE("a ticket may be taken before or after completion", "[device]") {
  Ticket::Promise early, late;
  Ticket first = early.ticket();
  CATCH_CHECK_FALSE(first.done());
  early.complete();
  late.complete();
  Ticket second = late.ticket();
  CATCH_CHECK(first.done());
  CATCH_CHECK(second.done());
  first.wait();
  second.wait();
}

CATCH_TEST_CASE("a promise has one ticket", "[device]") {
  Ticket::Promise promise;
  const Ticket ticket = promise.ticket();
  CATCH_CHECK_THROWS_AS(promise.ticket(), StateError);
  promise.complete();
}

CATCH_TEST_CASE("wait throws the same error every time", "[device]") {
  Ticket::Promise promise;
  Ticket ticket = promise.ticket();
  promise.complete(failure());
  CATCH_CHECK(ticket.done());
  for (int i = 0; i < 2; ++i) CATCH_CHECK_THROWS_WITH(ticket.wait(), "torn");
}

CATCH_TEST_CASE("wait sees what the other thread wrote", "[device]") {
  for (int round = 0; round < 200; ++round) {
    Ticket::Promise promise;
    Ticket ticket = promise.ticket();
    int payload = 0;
    std::thread other([&payload, promise]() mutable {
      payload = 7;
      promise.complete();
    });
    ticket.wait();
    CATCH_REQUIRE(payload == 7);
    other.join();
  }
}

// The memory of a transfer may be given back as soon as its ticket is gone, so both must wait.
CATCH_TEST_CASE("destruction and assignment wait for the transfer", "[device]") {
  for (const bool assign : {false, true}) {
    Ticket::Promise promise;
    std::atomic<bool> completed{false};
    std::latch waiting(1);
    std::thread other([&] {
      waiting.wait();
      completed = true;
      promise.complete(failure());
    });
    {
      Ticket ticket = promise.ticket();
      waiting.count_down();
      if (assign) {
        ticket = Ticket();
        CATCH_CHECK(completed);
      }
    }
    CATCH_CHECK(completed);
    other.join();
  }
}

// Completes only when somebody says that it is waited for.
class LazyTransfer final : public Ticket::Queued {
 public:
  void hurry() noexcept override {
    if (!std::exchange(hurried_, true)) promise.complete();
  }
  Ticket::Promise promise;

 private:
  bool hurried_ = false;
};

CATCH_TEST_CASE("waiting hurries the transfer", "[device]") {
  for (const bool by_destructor : {false, true}) {
    const auto transfer = std::make_shared<LazyTransfer>();
    transfer->promise.tell_when_awaited(transfer);
    Ticket ticket = transfer->promise.ticket();
    CATCH_CHECK_FALSE(ticket.done());
    if (by_destructor) {
      ticket = Ticket();
    } else {
      ticket.wait();  // without a word to the transfer this would never end
      ticket.hurry();
    }
  }
}

// Ends when time has passed so often, which is when somebody blocks.
class TimedTransfer final : public Ticket::Queued {
 public:
  explicit TimedTransfer(int num_left) : num_left_(num_left) {}
  void hurry() noexcept override { ++num_hurries; }
  bool pass_time() noexcept override {
    if (--num_left_ == 0) promise.complete();
    return true;
  }
  int num_hurries = 0;
  Ticket::Promise promise;

 private:
  int num_left_;
};

CATCH_TEST_CASE("who blocks lets time pass where no other thread does", "[device]") {
  const auto transfer = std::make_shared<TimedTransfer>(3);
  transfer->promise.tell_when_awaited(transfer);
  Ticket ticket = transfer->promise.ticket();
  int num_asked = 0;
  ticket.wait_until([&] { return ++num_asked == 3; });  // time has passed twice
  CATCH_CHECK(num_asked == 3);
  CATCH_CHECK_FALSE(ticket.done());
  CATCH_CHECK(transfer->num_hurries == 0);
  ticket.wait();
  CATCH_CHECK(ticket.done());
  CATCH_CHECK(transfer->num_hurries == 1);
}

CATCH_TEST_CASE("the end of any transfer wakes who waits until something holds", "[device]") {
  for (int round = 0; round < 200; ++round) {
    Ticket::Promise awaited, other;
    Ticket ticket = awaited.ticket(), ends_first = other.ticket();
    std::thread completer([&] { other.complete(); });
    ticket.wait_until([&] { return ends_first.done(); });
    CATCH_REQUIRE(ends_first.done());
    CATCH_REQUIRE_FALSE(ticket.done());
    completer.join();
    awaited.complete();
    ticket.wait_until([&] { return ticket.done(); });  // at once
  }
}

CATCH_TEST_CASE("a transfer that is gone needs no hurry", "[device]") {
  Ticket ticket;
  ticket.hurry();
  Ticket::Promise promise;
  {
    const auto transfer = std::make_shared<LazyTransfer>();
    promise.tell_when_awaited(transfer);
  }
  ticket = promise.ticket();
  ticket.hurry();
  CATCH_CHECK_FALSE(ticket.done());
  promise.complete();
}

CATCH_TEST_CASE("a moved ticket leaves a done one behind", "[device]") {
  Ticket::Promise promise;
  Ticket ticket = promise.ticket();
  Ticket moved = std::move(ticket);
  CATCH_CHECK(ticket.done());  // NOLINT(bugprone-use-after-move): it is what is tested
  CATCH_CHECK_FALSE(moved.done());
  promise.complete();
}

CATCH_TEST_CASE("a ticket says when its transfer ran, not when somebody looked") {
  const auto made = Ticket::Clock::now();
  Ticket::Promise promise;
  Ticket ticket = promise.ticket();
  const auto queued = Ticket::Clock::now();
  promise.begin();
  const auto begun = Ticket::Clock::now();
  promise.complete();
  const auto looked = Ticket::Clock::now();
  CATCH_CHECK(made <= queued);
  CATCH_CHECK(queued <= ticket.started_at());
  CATCH_CHECK(ticket.started_at() <= begun);
  CATCH_CHECK(begun <= ticket.ended_at());
  CATCH_CHECK(ticket.ended_at() <= looked);
}

CATCH_TEST_CASE("a transfer that never queued started when it was asked for") {
  const auto before = Ticket::Clock::now();
  Ticket::Promise promise;
  const auto after = Ticket::Clock::now();
  Ticket ticket = promise.ticket();
  promise.complete();
  CATCH_CHECK(before <= ticket.started_at());
  CATCH_CHECK(ticket.started_at() <= after);
}

}  // namespace
}  // namespace asterias::device
