// What stands in line for one way: first what somebody waits for, in the order in which that was said, then the rest,
// in the order in which it came.
//
// Threading: thread-compatible; whoever owns the line locks.
#pragma once

#include <list>
#include <memory>

#include "base/node_pool.hpp"

namespace asterias::device {

// `Request` has a public member `place` of type AwaitedFirst<Request>::Place.
template <class Request>
class AwaitedFirst {
  // Nodes move from one to the other: hurrying allocates nothing.
  using Line = std::pmr::list<std::shared_ptr<Request>>;

 public:
  // Where a request stands.
  class Place {
    friend class AwaitedFirst;
    typename Line::iterator at;  // while it stands in line
    bool is_in_line = false, is_awaited = false;
  };

  bool empty() const { return awaited_.empty() && others_.empty(); }
  const std::shared_ptr<Request>& front() const { return awaited_.empty() ? others_.front() : awaited_.front(); }

  // REQUIRES: it has not stood here before.
  void push_back(const std::shared_ptr<Request>& request) {
    request->place.at = others_.insert(others_.end(), request);
    request->place.is_in_line = true;
  }

  void erase(Request& request) {
    Place& place = request.place;
    place.is_in_line = false;
    (place.is_awaited ? awaited_ : others_).erase(place.at);  // it may have been the last who held the request
  }

  // Somebody waits for it. Nothing happens to what does not stand in line any more.
  void hurry(Request& request) noexcept {
    Place& place = request.place;
    if (!place.is_in_line || place.is_awaited) return;
    place.is_awaited = true;
    awaited_.splice(awaited_.end(), others_, place.at);
  }

 private:
  Line awaited_{node_pool()}, others_{node_pool()};
};

}  // namespace asterias::device
