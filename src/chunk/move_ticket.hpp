// The receipt of one payload's move, which may be several transfers (extents, stripes).
//
// Same contract as device::Ticket: the destructor blocks until all have ended, wait() throws the first error.
// Threading: one owner. Move-only.
#pragma once

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "base/node_pool.hpp"
#include "device/ticket.hpp"

namespace asterias::chunk {

class MoveTicket {
 public:
  MoveTicket() = default;  // an already completed move
  explicit MoveTicket(device::Ticket ticket) { add(std::move(ticket)); }

  void add(device::Ticket ticket) { tickets_.push_back(std::move(ticket)); }

  bool done() const noexcept {
    for (const auto& ticket : tickets_)
      if (!ticket.done()) return false;
    return true;
  }

  // What a stream may wait for in place of the host; nothing where only the host can.
  std::vector<device::SharedPoint> points() const {
    std::vector<device::SharedPoint> points;
    for (const auto& ticket : tickets_) {
      points.push_back(ticket.point());
      if (!points.back()) return {};
    }
    return points;
  }

  // Says whether a stream may wait for it.
  bool has_points() const noexcept {
    return !tickets_.empty() &&
           std::all_of(tickets_.begin(), tickets_.end(), [](const auto& ticket) { return ticket.point() != nullptr; });
  }

  bool is_of_transfers() const noexcept {
    return std::any_of(tickets_.begin(), tickets_.end(), [](const auto& ticket) { return ticket.is_of_transfer(); });
  }
  // From the start of the first transfer to the end of the last. REQUIRES: done(), is_of_transfers().
  device::Ticket::Clock::time_point started_at() const noexcept {
    auto first = device::Ticket::Clock::time_point::max();
    for (const auto& ticket : tickets_)
      if (ticket.is_of_transfer()) first = std::min(first, ticket.started_at());
    return first;
  }
  device::Ticket::Clock::time_point ended_at() const noexcept {
    auto last = device::Ticket::Clock::time_point::min();
    for (const auto& ticket : tickets_)
      if (ticket.is_of_transfer()) last = std::max(last, ticket.ended_at());
    return last;
  }

  // Blocks until every transfer has ended, well or badly.
  void wait_ended() noexcept {
    try {
      wait();
    } catch (...) {  // wait() tells again
    }
  }

  // Says that somebody waits, as wait() does by itself.
  void hurry() const noexcept {
    for (const auto& ticket : tickets_) ticket.hurry();
  }

  // Blocks until `holds()`, which is asked at once and whenever a transfer has ended, of this move or another.
  // REQUIRES: !done().
  void wait_until(const std::function<bool()>& holds) const {
    for (const auto& ticket : tickets_)
      while (!ticket.done() && !holds()) ticket.wait_until([&] { return holds() || ticket.done(); });
  }

  // Blocks until every transfer has ended, then throws the first error.
  void wait() {
    hurry();
    std::exception_ptr first;
    for (auto& ticket : tickets_) try {
        ticket.wait();
      } catch (...) {
        if (!first) first = std::current_exception();
      }
    if (first) std::rethrow_exception(first);
  }

 private:
  std::pmr::vector<device::Ticket> tickets_{node_pool()};
};

}  // namespace asterias::chunk
