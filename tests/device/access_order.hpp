// Finds two accesses of the same memory that streams were never told an order of, one of them a write: a missing wait,
// whether or not the threads that play the card happen to meet there.
//
// Happens-before by vector clocks: a stream's work in its order, a wait after what was recorded, all that is enqueued
// after what the host has seen the end of. What the host itself reads and writes is not looked at.
//
// Threading: thread-safe. Units: bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>

namespace asterias::device::tests {

class AccessOrder {
 public:
  using StreamId = const void*;
  using Clock = std::map<StreamId, std::uint64_t>;

  // `stream` was told to read or write the range.
  void access(StreamId stream, const void* memory, std::uint64_t bytes, bool writes) {
    const std::lock_guard lock(mutex_);
    const Access now{static_cast<const std::byte*>(memory), bytes, writes, stream, ++advance(stream)[stream]};
    const Clock& known = clocks_[stream];
    for (auto before = accesses_.begin(); before != accesses_.end();) {
      const bool meets = before->memory < now.memory + bytes && now.memory < before->memory + before->bytes;
      const auto seen = known.find(before->stream);
      const bool is_ordered = seen != known.end() && seen->second >= before->at;
      if (meets && (writes || before->writes)) num_races_ += !is_ordered;
      const bool is_within = now.memory <= before->memory && before->memory + before->bytes <= now.memory + bytes;
      // Who comes after this one comes after that, too.
      if (is_within && is_ordered && (writes || (!before->writes && before->stream == stream)))
        before = accesses_.erase(before);
      else
        ++before;
    }
    accesses_.push_back(now);
  }

  // What has been enqueued into `stream` so far, and all before it.
  Clock record(StreamId stream) {
    const std::lock_guard lock(mutex_);
    return advance(stream);
  }
  void wait(StreamId stream, const Clock& clock) {
    const std::lock_guard lock(mutex_);
    join(clocks_[stream], clock);
  }
  // The host has seen that `clock` is reached.
  void see(const Clock& clock) {
    const std::lock_guard lock(mutex_);
    join(host_, clock);
  }

  int num_races() const {
    const std::lock_guard lock(mutex_);
    return num_races_;
  }

 private:
  struct Access {
    const std::byte* memory;
    std::uint64_t bytes;
    bool writes;
    StreamId stream;
    std::uint64_t at;
  };

  static void join(Clock& into, const Clock& other) {
    for (const auto& [stream, at] : other) into[stream] = std::max(into[stream], at);
  }
  Clock& advance(StreamId stream) {
    join(clocks_[stream], host_);
    return clocks_[stream];
  }

  mutable std::mutex mutex_;
  std::map<StreamId, Clock> clocks_;
  Clock host_;
  std::list<Access> accesses_;
  int num_races_ = 0;
};

}  // namespace asterias::device::tests
