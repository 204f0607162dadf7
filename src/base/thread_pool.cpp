#include "base/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <sched.h>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace asterias {
namespace {

// About 20 to 60 us: longer than the gap between two parallel_for of one update, shorter than anybody else notices.
constexpr int kSpins = 1500;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // "yield" is a no-op on most Arm cores
#endif
}

template <typename Condition>
void spin_until(const Condition& condition) {
  for (int i = 0; i < kSpins && !condition(); ++i) relax();
}

int affinity_cores() {
  for (int max_cores = 1024; max_cores <= (1 << 16); max_cores *= 2) {  // EINVAL: the kernel's mask is longer
    cpu_set_t* mask = CPU_ALLOC(max_cores);
    const std::size_t mask_bytes = CPU_ALLOC_SIZE(max_cores);
    const bool read = sched_getaffinity(0, mask_bytes, mask) == 0;
    const int cores = read ? CPU_COUNT_S(mask_bytes, mask) : 0;
    CPU_FREE(mask);
    if (read) return cores;
  }
  return 1;
}

int local_ranks() {
  const char* text = std::getenv("LOCAL_WORLD_SIZE");
  return std::max(1, text == nullptr ? 1 : std::atoi(text));
}

}  // namespace

// A round is one parallel_for. Workers join a round under the mutex while it is open, so one that wakes late finds it
// closed and can never take an index of the wrong round; the caller waits only for workers that joined, not for all to
// wake.
struct ThreadPool::State {
  ~State();

  void start(int num_workers);
  void work();
  bool join_round(std::uint64_t& seen);  // false: stop
  void leave_round();
  void open_round(const std::function<void(std::size_t)>& new_body, std::size_t new_count);
  void close_round();
  void take_indices();
  void keep_first(std::exception_ptr thrown);

  std::atomic<bool> busy{false};

  std::mutex mutex;
  std::condition_variable opened;
  std::condition_variable left;
  std::atomic<std::uint64_t> round{0};  // written under the mutex, spun on without
  std::atomic<int> inside{0};           // the same
  bool open = false;
  bool stopping = false;
  std::exception_ptr error;

  // Written under the mutex before a round opens; constant while it is open.
  const std::function<void(std::size_t)>* body = nullptr;
  std::size_t count = 0;

  alignas(64) std::atomic<std::size_t> next{0};
  alignas(64) std::vector<std::thread> workers;
};

// Not the constructor's work: when the system has no more threads to give, the destructor must join those that run.
void ThreadPool::State::start(int num_workers) {
  workers.reserve(static_cast<std::size_t>(num_workers));
  for (int i = 0; i < num_workers; ++i) workers.emplace_back([this] { work(); });
}

ThreadPool::State::~State() {
  {
    const std::lock_guard lock(mutex);
    stopping = true;
    ++round;
  }
  opened.notify_all();
  for (auto& worker : workers) worker.join();
}

void ThreadPool::State::work() {
  std::uint64_t seen = 0;
  while (join_round(seen)) {
    take_indices();
    leave_round();
  }
}

bool ThreadPool::State::join_round(std::uint64_t& seen) {
  for (;;) {
    spin_until([&] { return round.load(std::memory_order_relaxed) != seen; });
    std::unique_lock lock(mutex);
    opened.wait(lock, [&] { return round != seen; });
    seen = round;
    if (stopping) return false;
    if (!open) continue;
    ++inside;
    return true;
  }
}

void ThreadPool::State::leave_round() {
  const std::lock_guard lock(mutex);
  if (--inside == 0) left.notify_one();
}

void ThreadPool::State::open_round(const std::function<void(std::size_t)>& new_body, std::size_t new_count) {
  const std::lock_guard lock(mutex);
  body = &new_body;
  count = new_count;
  next.store(0, std::memory_order_relaxed);
  if (count == 1 || workers.empty()) return;  // nobody to wake: the caller does it all
  open = true;
  ++round;
  opened.notify_all();
}

void ThreadPool::State::close_round() {
  {
    const std::lock_guard lock(mutex);
    open = false;
  }
  spin_until([&] { return inside.load(std::memory_order_relaxed) == 0; });
  std::unique_lock lock(mutex);
  left.wait(lock, [&] { return inside == 0; });
}

void ThreadPool::State::take_indices() {
  const auto take = [&] { return next.fetch_add(1, std::memory_order_relaxed); };
  for (std::size_t index = take(); index < count; index = take()) {
    try {
      (*body)(index);
    } catch (...) {
      keep_first(std::current_exception());
    }
  }
}

void ThreadPool::State::keep_first(std::exception_ptr thrown) {
  next.store(count, std::memory_order_relaxed);  // no further index starts
  const std::lock_guard lock(mutex);
  if (!error) error = std::move(thrown);
}

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
  state_->start((num_threads > 0 ? num_threads : default_num_threads()) - 1);
}

ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::parallel_for(std::size_t count, const std::function<void(std::size_t)>& body) {
  if (count == 0) return;
  if (state_->busy.exchange(true))
    throw StateError(StateError::Cause::kBug, "parallel_for called from inside a parallel_for or from a second thread");
  state_->open_round(body, count);
  state_->take_indices();
  state_->close_round();
  const std::exception_ptr error = std::exchange(state_->error, nullptr);
  state_->busy = false;
  if (error) std::rethrow_exception(error);
}

int ThreadPool::default_num_threads() { return std::max(1, affinity_cores() / local_ranks()); }

}  // namespace asterias
