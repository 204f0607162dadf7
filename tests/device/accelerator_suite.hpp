// What every accelerator does, whatever it is made of.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include <catch2/catch.hpp>

#include "device/accelerator.hpp"
#include "device/pinned_memory.hpp"

namespace asterias::device::tests {

inline std::vector<std::byte> bytes_of(std::size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

// `accelerator` has at least 1 MiB of memory.
inline void check_accelerator(Accelerator& accelerator) {
  constexpr std::size_t kBytes = 64 * 1024;
  CATCH_REQUIRE(accelerator.memory_bytes() >= 16 * kBytes);
  CATCH_CHECK_FALSE(accelerator.name().empty());
  std::byte* const memory = accelerator.memory();
  accelerator.adopt_thread();

  // There and back, each range under the copies before it.
  const auto from = bytes_of(kBytes, 7);
  auto back = bytes_of(kBytes, 0);
  Ticket up = accelerator.to_device().copy(memory, from.data(), kBytes);
  start_after(accelerator.compute(), up);
  accelerator.to_host().wait_for(accelerator.compute().point());
  Ticket down = accelerator.to_host().copy(back.data(), memory, kBytes);
  down.wait();
  CATCH_CHECK(back == from);
  up.wait();
  CATCH_CHECK(up.is_of_transfer());
  CATCH_CHECK(up.started_at() <= up.ended_at());

  // What the compute stream does between two copies lies between them.
  accelerator.compute().fill(memory, 0xFF, kBytes / 2);
  accelerator.to_host().wait_for(accelerator.compute().point());
  accelerator.to_host().copy(back.data(), memory, kBytes).wait();
  CATCH_CHECK(std::memcmp(back.data(), bytes_of(kBytes / 2, 0xFF).data(), kBytes / 2) == 0);
  CATCH_CHECK(std::memcmp(back.data() + kBytes / 2, from.data(), kBytes / 2) == 0);

  // A range is used anew, over and over, without the host waiting in between.
  std::vector<std::vector<std::byte>> sources, results(16, bytes_of(kBytes, 0));
  std::vector<Ticket> tickets;
  for (int i = 0; i < 16; ++i) sources.push_back(bytes_of(kBytes, i));
  for (std::size_t i = 0; i < 16; ++i) {
    Ticket arrives = accelerator.to_device().copy(memory, sources[i].data(), kBytes);
    start_after(accelerator.compute(), arrives);
    accelerator.to_host().wait_for(accelerator.compute().point());
    tickets.push_back(std::move(arrives));
    Ticket leaves = accelerator.to_host().copy(results[i].data(), memory, kBytes);
    start_after(accelerator.compute(), leaves);
    accelerator.to_device().wait_for(accelerator.compute().point());
    tickets.push_back(std::move(leaves));
  }
  for (Ticket& ticket : tickets) ticket.wait();
  CATCH_CHECK(results == sources);

  // So it is by copies alone: who comes into a range waits for the copy that reads it.
  results.assign(16, bytes_of(kBytes, 0));
  const auto wait = [](LinkQueue& link, Ticket& ticket) {
    const SharedPoint point = ticket.point();
    return point ? link.wait_for(point) : ticket.wait();
  };
  for (std::size_t i = 0; i < 16; ++i) {
    Ticket arrives = accelerator.to_device().copy(memory, sources[i].data(), kBytes);
    wait(accelerator.to_host(), arrives);
    tickets.push_back(std::move(arrives));
    Ticket leaves = accelerator.to_host().copy(results[i].data(), memory, kBytes);
    wait(accelerator.to_device(), leaves);
    tickets.push_back(std::move(leaves));
  }
  for (Ticket& ticket : tickets) ticket.wait();
  CATCH_CHECK(results == sources);

  // What is taken besides is memory like the rest, and elsewhere.
  if (const auto besides = accelerator.take_besides(kBytes)) {
    const bool is_within = besides.get() >= memory && besides.get() < memory + accelerator.memory_bytes();
    CATCH_CHECK_FALSE(is_within);
    accelerator.compute().fill(besides.get(), 5, kBytes);
    accelerator.to_host().wait_for(accelerator.compute().point());
    accelerator.to_host().copy(back.data(), besides.get(), kBytes).wait();
    CATCH_CHECK(back == bytes_of(kBytes, 5));
  }

  // Pinned memory of the host is copied like any other.
  {
    const PinnedMemory pinned(accelerator.host_pinner(), kBytes);
    CATCH_CHECK(pinned.is_pinned());
    std::memset(pinned.data(), 9, kBytes);
    Ticket rises = accelerator.to_device().copy(memory, pinned.data(), kBytes);
    start_after(accelerator.compute(), rises);
    accelerator.to_host().wait_for(accelerator.compute().point());
    accelerator.to_host().copy(back.data(), memory, kBytes).wait();
    CATCH_CHECK(back == bytes_of(kBytes, 9));
    rises.wait();
  }

  // Nothing is something, too; points of the past are reached.
  accelerator.to_device().copy(nullptr, nullptr, 0).wait();
  const SharedPoint point = accelerator.compute().point();
  if (point) {
    point->wait();
    CATCH_CHECK(point->reached());
    accelerator.compute().wait_for(accelerator.compute().point());
  }
  accelerator.compute().wait_for(nullptr);
  accelerator.to_host().wait_for(nullptr);
}

}  // namespace asterias::device::tests
