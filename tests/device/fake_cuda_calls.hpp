// A CUDA runtime of host memory and threads: streams are queues with a worker each, events are what they say they are,
// and everything goes wrong as a test orders.
//
// Unlike a card it can be slow on order: hold() keeps a stream from going on until release(), settle() waits until the
// others have done what they can, dawdle() has all take their time. `order` finds what was left to chance.
//
// Threading: thread-safe; orders are given before the calls they are meant for.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/cuda_calls.hpp"
#include "tests/device/access_order.hpp"

namespace asterias::device::tests {

class FakeCudaCalls final : public CudaCalls {
 public:
  // Error numbers, as CudaFailure names them.
  static constexpr int kNotReady = 1, kNoDriver = 2, kNoDevice = 3, kBusy = 4, kOutOfMemory = 5, kLost = 6, kOther = 7;

  struct Device {
    std::string name;
    std::uint64_t total_bytes;
    std::uint64_t others_bytes = 0;  // used by other processes
  };
  std::vector<Device> devices{{"Fake 24", std::uint64_t{24} << 30}};
  std::uint64_t context_bytes = std::uint64_t{300} << 20;
  int version = 13000;
  std::uint64_t most_real_bytes = std::uint64_t{64} << 20;  // of one piece: nobody copies as much as a card holds
  std::atomic<int> count_error{0}, set_device_error{0}, kernel_error{0}, register_error{0}, count_used_error{0};
  std::atomic<bool> is_lost{false};
  std::atomic<int> num_register_calls{0};
  std::atomic<std::size_t> most_registered{SIZE_MAX};  // ranges: register_error from then on
  std::atomic<int> num_pageable_copies{0};             // from or to host memory that is not registered
  AccessOrder order;

  ~FakeCudaCalls() { release_all(); }

  // Holds every stream that exists or is made from now on, until release_all(). What runs already ends.
  void hold_all() { set_held(true); }
  void release_all() { set_held(false); }
  void hold(StreamHandle stream) { worker_of(stream).set_held(true); }
  void release(StreamHandle stream) { worker_of(stream).set_held(false); }
  // The streams that exist, in the order in which they were made.
  std::vector<StreamHandle> streams() const {
    const std::lock_guard lock(mutex_);
    return made_;
  }
  // Waits until nothing goes on but by release(): every stream is held, has nothing to do or waits for one that rests.
  void settle() {
    for (;;) {
      const std::uint64_t before = num_done_;
      if (do_all_rest() && num_done_ == before) return;
      std::this_thread::yield();
    }
  }
  // Has streams that are made from now on dally before each piece of work.
  void dawdle(unsigned seed) { dawdles_ = seed; }
  // The device is gone: what is enqueued never runs, who waits is told.
  void lose() {
    is_lost = true;
    release_all();
  }
  std::size_t num_living() const {
    const std::lock_guard lock(mutex_);
    return memory_.size() + streams_.size() + events_.size() + registered_.size();
  }

  // Says whether a byte of the host is registered.
  bool is_registered(const std::byte* memory) const {
    const std::lock_guard lock(mutex_);
    return is_registered(memory, 1);
  }
  std::uint64_t registered_bytes() const {
    const std::lock_guard lock(mutex_);
    std::uint64_t bytes = 0;
    for (const auto& range : registered_) bytes += range.second;
    return bytes;
  }

  int cuda_version() override { return version; }
  int count_devices(int& count) override {
    count = static_cast<int>(devices.size());
    return count_error;
  }
  int describe_device(int device, CudaDeviceFacts& facts) override {
    const Device& of = devices.at(static_cast<std::size_t>(device));
    std::strncpy(facts.name, of.name.c_str(), sizeof(facts.name) - 1);
    facts.total_bytes = of.total_bytes;
    facts.major = 8;
    facts.minor = 9;
    return 0;
  }
  int set_device(int device) override {
    if (is_lost) return kLost;
    if (set_device_error != 0) return set_device_error;
    opened_ = device;
    return 0;
  }
  int check_kernels() override { return kernel_error; }
  int count_memory(int index, std::uint64_t& free_bytes, std::uint64_t& total_bytes) override {
    if (is_lost) return kLost;
    const Device& device = devices.at(static_cast<std::size_t>(index));
    total_bytes = device.total_bytes;
    free_bytes = total_bytes - used_bytes(index);
    return 0;
  }
  int count_used(int device, std::uint64_t& bytes) override {
    bytes = used_bytes(device);
    return count_used_error;
  }

  int allocate(int device, void*& memory, std::uint64_t bytes) override {
    if (is_lost) return kLost;
    std::uint64_t free_bytes = 0, total = 0;
    count_memory(device, free_bytes, total);
    if (bytes > free_bytes) return kOutOfMemory;
    const std::lock_guard lock(mutex_);
    auto real = std::make_unique_for_overwrite<std::byte[]>(std::min(bytes, most_real_bytes));
    memory = real.get();
    memory_.emplace(memory, std::make_pair(bytes, std::move(real)));
    return 0;
  }
  int free(void* memory) override {
    for (const StreamHandle stream : streams()) synchronize(stream);  // as CUDA does
    const std::lock_guard lock(mutex_);
    return memory_.erase(memory) == 1 ? 0 : kOther;
  }
  int register_host(int, void* memory, std::uint64_t bytes) override {
    ++num_register_calls;
    const std::lock_guard lock(mutex_);
    if (register_error == 0 && registered_.size() >= most_registered) register_error = kOutOfMemory;
    if (register_error != 0) return register_error;
    if (is_anything_registered(memory, bytes)) return kOther;
    registered_.emplace(static_cast<std::byte*>(memory), bytes);
    return 0;
  }
  int unregister_host(int, void* memory) override {
    const std::lock_guard lock(mutex_);
    return registered_.erase(static_cast<std::byte*>(memory)) == 1 ? 0 : kOther;
  }

  int create_stream(int, StreamHandle& stream) override {
    if (is_lost) return kLost;
    const std::lock_guard lock(mutex_);
    auto made = std::make_unique<Worker>(is_held_, num_done_, dawdles_ == 0 ? 0 : ++dawdles_);
    stream.driver_stream = made.get();
    made_.push_back(stream);
    streams_.emplace(made.get(), std::move(made));
    return 0;
  }
  int destroy_stream(StreamHandle stream) override {
    std::unique_ptr<Worker> worker;
    const std::lock_guard lock(mutex_);
    const auto found = streams_.find(stream.driver_stream);
    if (found == streams_.end()) return kOther;
    worker = std::move(found->second);
    streams_.erase(found);
    std::erase_if(made_, [&](StreamHandle each) { return each.driver_stream == stream.driver_stream; });
    return 0;
  }
  int synchronize(StreamHandle stream) override {
    if (is_lost) return kLost;
    EventHandle event;
    create_event(opened_, event);
    record_event(event, stream);
    const int error = wait_event(event);
    destroy_event(event);
    return error;
  }
  int create_event(int, EventHandle& event) override {
    if (is_lost) return kLost;
    auto made = std::make_unique<Event>();
    event.driver_event = made.get();
    const std::lock_guard lock(mutex_);
    events_.emplace(made.get(), std::move(made));
    return 0;
  }
  int destroy_event(EventHandle event) override {
    const std::lock_guard lock(mutex_);
    return events_.erase(event.driver_event) == 1 ? 0 : kOther;
  }
  int record_event(EventHandle event, StreamHandle stream) override {
    if (is_lost) return kLost;
    auto moment = std::make_shared<Moment>(order.record(stream.driver_stream));
    event_of(event).set(moment);
    return enqueue(stream, [moment] { moment->reach(); });
  }
  int query_event(EventHandle event) override {
    if (is_lost) return kLost;
    const auto moment = event_of(event).get();
    if (!moment->is_reached()) return kNotReady;
    order.see(moment->clock());
    return 0;
  }
  int wait_event(EventHandle event) override {
    const auto moment = event_of(event).get();
    moment->wait(is_lost);
    if (is_lost) return kLost;
    order.see(moment->clock());
    return 0;
  }
  int stream_wait_event(StreamHandle stream, EventHandle event) override {
    if (is_lost) return kLost;
    const auto moment = event_of(event).get();
    order.wait(stream.driver_stream, moment->clock());
    worker_of(stream).enqueue({[this, moment] { moment->wait(is_lost); }, moment});
    return 0;
  }

  // As CUDA, refuses memory that is registered in part.
  int copy(void* to, const void* from, std::uint64_t bytes, StreamHandle stream) override {
    {
      const std::lock_guard lock(mutex_);
      const bool is_pinned = is_registered(to, bytes) || is_registered(from, bytes);
      if (!is_pinned && (is_anything_registered(to, bytes) || is_anything_registered(from, bytes))) return kOther;
      num_pageable_copies += !is_pinned;
    }
    order.access(stream.driver_stream, from, bytes, /*writes=*/false);
    order.access(stream.driver_stream, to, bytes, /*writes=*/true);
    return enqueue(stream, [=] { std::memcpy(to, from, bytes); });
  }
  int fill(void* memory, std::uint8_t byte, std::uint64_t bytes, StreamHandle stream) override {
    order.access(stream.driver_stream, memory, bytes, /*writes=*/true);
    return enqueue(stream, [=] { std::memset(memory, byte, bytes); });
  }

  // Lets `stream` do `work` in its turn, as a kernel would.
  int enqueue(StreamHandle stream, std::function<void()> work) {
    if (is_lost) return kLost;
    const auto run = [this, work = std::move(work)] {
      if (!is_lost) work();
    };
    worker_of(stream).enqueue({run, nullptr});
    return 0;
  }

  CudaFailure failure(int error) override {
    constexpr CudaFailure kFailures[] = {CudaFailure::kNone,     CudaFailure::kNotReady, CudaFailure::kNoDriver,
                                         CudaFailure::kNoDevice, CudaFailure::kBusy,     CudaFailure::kOutOfMemory,
                                         CudaFailure::kLost,     CudaFailure::kOther};
    return kFailures[error];
  }
  const char* error_text(int) override { return "fakeError (as ordered)"; }

 private:
  // What one recording of an event stands for.
  class Moment {
   public:
    explicit Moment(AccessOrder::Clock clock) : clock_(std::move(clock)) {}
    const AccessOrder::Clock& clock() const { return clock_; }
    void reach() {
      const std::lock_guard lock(mutex_);
      reached_ = true;
      changed_.notify_all();
    }
    bool is_reached() {
      const std::lock_guard lock(mutex_);
      return reached_;
    }
    // Polls `gone` now and then: nobody will reach the moment of a lost device.
    void wait(const std::atomic<bool>& gone) {
      std::unique_lock lock(mutex_);
      while (!reached_ && !gone) changed_.wait_for(lock, std::chrono::milliseconds(1));
    }

   private:
    const AccessOrder::Clock clock_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool reached_ = false;
  };

  class Event {
   public:
    void set(std::shared_ptr<Moment> moment) {
      const std::lock_guard lock(mutex_);
      moment_ = std::move(moment);
    }
    std::shared_ptr<Moment> get() {
      const std::lock_guard lock(mutex_);
      return moment_;
    }

   private:
    std::mutex mutex_;
    std::shared_ptr<Moment> moment_;
  };

  class Worker {
   public:
    struct Work {
      std::function<void()> run;
      std::shared_ptr<Moment> awaited;  // all it does is to wait for this
    };

    Worker(bool held, std::atomic<std::uint64_t>& num_done, unsigned dawdles)
        : num_done_(num_done), dawdles_(dawdles), held_(held), thread_([this] { run(); }) {}
    ~Worker() {
      {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        held_ = false;
      }
      changed_.notify_all();
      thread_.join();
    }
    void enqueue(Work work) {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
      changed_.notify_all();
    }
    bool rests() {
      const std::lock_guard lock(mutex_);
      if (!is_working_) return held_ || queue_.empty();
      return awaited_ && !awaited_->is_reached();
    }
    void set_held(bool held) {
      const std::lock_guard lock(mutex_);
      held_ = held;
      changed_.notify_all();
    }

   private:
    void run() {
      std::minstd_rand random(dawdles_);
      std::unique_lock lock(mutex_);
      for (;;) {
        changed_.wait(lock, [this] { return !held_ && (stopping_ || !queue_.empty()); });
        if (queue_.empty()) return;
        const Work work = std::move(queue_.front());
        queue_.pop_front();
        awaited_ = work.awaited;
        is_working_ = true;
        lock.unlock();
        for (unsigned left = dawdles_ == 0 ? 0 : random() % 32; left > 0; --left) std::this_thread::yield();
        work.run();
        lock.lock();
        is_working_ = false;
        ++num_done_;
      }
    }

    std::atomic<std::uint64_t>& num_done_;
    const unsigned dawdles_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Work> queue_;
    std::shared_ptr<Moment> awaited_;  // by the work under way
    bool held_, is_working_ = false, stopping_ = false;
    std::thread thread_;  // the last member
  };

  static Event& event_of(EventHandle event) { return *static_cast<Event*>(event.driver_event); }
  static Worker& worker_of(StreamHandle stream) { return *static_cast<Worker*>(stream.driver_stream); }

  bool do_all_rest() {
    const std::lock_guard lock(mutex_);
    return std::all_of(streams_.begin(), streams_.end(), [](const auto& each) { return each.second->rests(); });
  }

  bool is_anything_registered(const void* memory, std::uint64_t bytes) const {
    const auto* const begin = static_cast<const std::byte*>(memory);
    return std::any_of(registered_.begin(), registered_.end(), [&](const auto& range) {
      return range.first < begin + bytes && begin < range.first + range.second;
    });
  }
  bool is_registered(const void* memory, std::uint64_t bytes) const {
    const auto* const begin = static_cast<const std::byte*>(memory);
    return std::any_of(registered_.begin(), registered_.end(), [&](const auto& range) {
      return range.first <= begin && begin + bytes <= range.first + range.second;
    });
  }
  void set_held(bool held) {
    const std::lock_guard lock(mutex_);
    is_held_ = held;
    for (auto& [stream, worker] : streams_) worker->set_held(held);
  }
  std::uint64_t used_bytes(int device) const {
    const std::lock_guard lock(mutex_);
    std::uint64_t used = devices.at(static_cast<std::size_t>(device)).others_bytes;
    if (opened_ == device) used += context_bytes;
    for (const auto& [address, memory] : memory_) used += memory.first;
    return used;
  }

  mutable std::mutex mutex_;
  std::atomic<int> opened_{-1};
  bool is_held_ = false;
  unsigned dawdles_ = 0;
  std::atomic<std::uint64_t> num_done_{0};  // pieces of work
  std::vector<StreamHandle> made_;
  std::map<void*, std::pair<std::uint64_t, std::unique_ptr<std::byte[]>>> memory_;
  std::map<const std::byte*, std::uint64_t> registered_;  // bytes
  std::map<void*, std::unique_ptr<Event>> events_;
  std::map<void*, std::unique_ptr<Worker>> streams_;
};

}  // namespace asterias::device::tests
