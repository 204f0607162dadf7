#include "device/copy_stream.hpp"

#include <chrono>
#include <thread>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"

namespace asterias::device {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

CATCH_TEST_CASE("copies arrive and complete in order", "[device]") {
  const std::uint64_t rate = GENERATE(as<std::uint64_t>(), 0, 2'000'000'000);
  CopyStream stream(rate);
  const Bytes from(3 * kMiB, std::byte{9});
  std::vector<Bytes> to(8, Bytes(from.size()));
  std::vector<Ticket> tickets;
  for (auto& target : to) tickets.push_back(stream.copy(target.data(), from.data(), from.size()));
  for (std::size_t i = to.size(); i-- > 0;) {
    while (!tickets[i].done()) std::this_thread::yield();  // to wait would be to hurry
    for (std::size_t earlier = 0; earlier < i; ++earlier) CATCH_CHECK(tickets[earlier].done());
    CATCH_CHECK(to[i] == from);
  }
}

// The stream may have been done with a copy before the next is hurried, so it is tried again.
CATCH_TEST_CASE("what is waited for passes what is not, also one that has begun", "[device]") {
  bool has_passed = false;
  for (int attempt = 0; attempt < 50 && !has_passed; ++attempt) {
    CopyStream stream(100 * kMiB);
    const Bytes from(4 * kMiB, std::byte{7}), few(64 * kKiB, std::byte{8});
    std::vector<Bytes> to(3, Bytes(from.size()));
    Bytes few_to(few.size());
    std::vector<Ticket> tickets;
    for (auto& target : to) tickets.push_back(stream.copy(target.data(), from.data(), from.size()));
    Ticket awaited = stream.copy(few_to.data(), few.data(), few.size());
    awaited.wait();
    const bool has_first_begun = !tickets[0].done();
    for (auto& ticket : tickets) ticket.wait();
    CATCH_CHECK(few_to == few);
    for (const auto& target : to) CATCH_CHECK(target == from);
    CATCH_CHECK(tickets[0].ended_at() <= tickets[1].ended_at());
    CATCH_CHECK(tickets[1].ended_at() <= tickets[2].ended_at());
    has_passed = has_first_begun && awaited.ended_at() <= tickets[0].ended_at() &&
                 tickets[0].started_at() < awaited.started_at();
  }
  CATCH_CHECK(has_passed);
}

CATCH_TEST_CASE("an empty copy completes", "[device]") {
  CopyStream stream(1);
  stream.copy(nullptr, nullptr, 0).wait();
}

// A lower bound only: a loaded machine may be late, the link may not be early.
CATCH_TEST_CASE("a declared link holds copies back", "[device]") {
  constexpr std::uint64_t kRate = 100 * kMiB;
  CopyStream stream(kRate);
  Bytes from(2 * kMiB), to(2 * kMiB);
  const auto start = Clock::now();
  std::vector<Ticket> tickets;
  for (int i = 0; i < 4; ++i) tickets.push_back(stream.copy(to.data(), from.data(), from.size()));
  for (auto& ticket : tickets) ticket.wait();
  CATCH_CHECK(seconds_since(start) >= 0.08);
  const auto after_idle = Clock::now();  // the time the link stood still before is not credited
  stream.copy(to.data(), from.data(), from.size()).wait();
  CATCH_CHECK(seconds_since(after_idle) >= 0.02);
}

CATCH_TEST_CASE("the destructor completes what was submitted", "[device]") {
  const Bytes from(kMiB, std::byte{5});
  std::vector<Bytes> to(16, Bytes(kMiB));
  std::vector<Ticket> tickets;
  {
    CopyStream stream;
    for (auto& target : to) tickets.push_back(stream.copy(target.data(), from.data(), kMiB));
  }
  for (const auto& ticket : tickets) CATCH_CHECK(ticket.done());
  CATCH_CHECK(to.back() == from);
}

CATCH_TEST_CASE("two threads may submit to one stream", "[device]") {
  CopyStream stream;
  const Bytes from(64 * kKiB, std::byte{3});
  const auto submit = [&] {
    Bytes to(from.size());
    for (int i = 0; i < 50; ++i) stream.copy(to.data(), from.data(), from.size()).wait();
  };
  std::thread other(submit);
  submit();
  other.join();
}

}  // namespace
}  // namespace asterias::device
