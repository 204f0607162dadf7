// What one thread takes in the order in which others have handed it over, until the queue is closed and empty.
//
// Threading: thread-safe; one thread takes.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "base/node_pool.hpp"

namespace asterias::device {

template <class Item>
class WorkQueue {
 public:
  // Hands over what `make()` returns. It runs under the lock, so items stand in the order in which they were made.
  template <class Make>
  void push(const Make& make) {
    const std::lock_guard lock(mutex_);
    items_.push_back(make());
    changed_.notify_one();
  }

  // Runs `action()` while nobody hands over.
  template <class Action>
  void exclude(const Action& action) {
    const std::lock_guard lock(mutex_);
    action();
  }

  // Waits for the next item and moves it into `item`. False: nothing is left, and nothing will come.
  bool take(Item& item) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_closed_ || !items_.empty(); });
    if (items_.empty()) return false;
    item = std::move(items_.front());
    items_.pop_front();
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
  std::pmr::deque<Item> items_{node_pool()};
  bool is_closed_ = false;
};

}  // namespace asterias::device
