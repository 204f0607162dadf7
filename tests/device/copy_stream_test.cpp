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
    tickets[i].wait();
    for (std::size_t earlier = 0; earlier < i; ++earlier) CATCH_CHECK(tickets[earlier].done());
    CATCH_CHECK(to[i] == from);
  }
}

CATCH_TEST_CASE("a chain of copies ends where its first copy began", "[device]") {
  CopyStream stream;
  Bytes a(kMiB, std::byte{1}), b(kMiB), c(kMiB);
  stream.copy(b.data(), a.data(), kMiB).wait();
  Ticket first = stream.copy(c.data(), b.data(), kMiB);
  Ticket second = stream.copy(a.data(), c.data(), kMiB);  // reads what the one before writes
  second.wait();
  CATCH_CHECK(first.done());
  CATCH_CHECK(a == Bytes(kMiB, std::byte{1}));
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
  tickets.back().wait();
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
