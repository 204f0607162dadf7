// What one thread takes from a line in which others have placed it, until the queue is closed and the line empty.
//
// Threading: thread-safe; one thread takes.
#pragma once

#include <condition_variable>
#include <mutex>
#include <utility>

namespace asterias::device {

// `Line` has empty() and push_back().
template <class Line>
class WorkQueue {
 public:
  explicit WorkQueue(Line line = Line()) : line_(std::move(line)) {}

  // Hands over what `make()` returns. It runs under the lock, so items stand in the order in which they were made.
  template <class Make>
  void push(const Make& make) {
    const std::lock_guard lock(mutex_);
    line_.push_back(make());
    changed_.notify_one();
  }

  // Runs `action(line)` while nobody hands over or takes.
  template <class Action>
  void exclude(const Action& action) {
    const std::lock_guard lock(mutex_);
    action(line_);
  }

  // Waits until something stands in line and runs `take(line)`. False: nothing is left, and nothing will come.
  template <class Take>
  bool take(const Take& take) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_closed_ || !line_.empty(); });
    if (line_.empty()) return false;
    take(line_);
    return true;
  }

  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Line line_;
  bool is_closed_ = false;
};

}  // namespace asterias::device
