// System calls that go wrong as a test orders: short transfers, errors at the nth call, and a gate that holds calls
// back.
//
// Threading: thread-safe; orders are given before the requests they are meant for.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <fcntl.h>
#include <mutex>

#include "device/block_file.hpp"

namespace asterias::device::tests {

class FaultyFileCalls : public FileCalls {
 public:
  std::atomic<bool> short_transfers{false};  // each call moves 512 to 3584 bytes at most, in turn
  std::atomic<bool> interrupted{false};      // every second call fails with EINTR
  std::atomic<bool> refuse_direct{false};    // EINVAL for transfers with O_DIRECT
  std::atomic<int> allocate_error{0};

  // Lets the `nth` transfer from now (1: the next) fail with `error_number`.
  void fail_transfer(std::int64_t nth, int error_number) {
    error_number_ = error_number;
    fail_at_ = calls_ + nth;
  }

  // Lets the next transfer from or to `offset` of a file fail: where several are under way, chance decides which is
  // nth.
  void fail_transfer_at(std::uint64_t offset, int error_number) {
    error_number_ = error_number;
    fail_at_offset_ = offset;
  }

  // Holds every transfer that starts from now on until open_gate().
  void close_gate() { set_gate(true); }
  void open_gate() { set_gate(false); }

  // Returns when `count` transfers stand at the gate.
  void wait_for_held(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_ >= count; });
  }

  std::int64_t calls() const { return calls_; }

  std::int64_t pread(int fd, void* into, std::size_t bytes, std::uint64_t offset) override {
    const int error_number = meet_faults(fd, offset);
    return error_number != 0 ? -error_number : FileCalls::pread(fd, into, shortened(bytes), offset);
  }

  std::int64_t pwrite(int fd, const void* from, std::size_t bytes, std::uint64_t offset) override {
    const int error_number = meet_faults(fd, offset);
    return error_number != 0 ? -error_number : FileCalls::pwrite(fd, from, shortened(bytes), offset);
  }

  int allocate(int fd, std::uint64_t offset, std::uint64_t bytes) override {
    return allocate_error != 0 ? allocate_error.load() : FileCalls::allocate(fd, offset, bytes);
  }

 private:
  static constexpr std::uint64_t kNowhere = UINT64_MAX;

  int meet_faults(int fd, std::uint64_t offset) {
    const std::int64_t call = ++calls_;
    hold_at_gate();
    if (call == fail_at_ || is_bad(offset)) return error_number_;
    if (interrupted && call % 2 == 0) return EINTR;
    if (refuse_direct && (fcntl(fd, F_GETFL) & O_DIRECT) != 0) return EINVAL;
    return 0;
  }

  bool is_bad(std::uint64_t offset) { return fail_at_offset_.compare_exchange_strong(offset, kNowhere); }

  std::size_t shortened(std::size_t bytes) const {
    return short_transfers ? std::min<std::size_t>(bytes, 512 * (1 + static_cast<std::size_t>(calls_) % 7)) : bytes;
  }

  void hold_at_gate() {
    std::unique_lock lock(mutex_);
    if (!gate_closed_) return;
    ++held_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !gate_closed_; });
    --held_;
  }

  void set_gate(bool closed) {
    const std::lock_guard lock(mutex_);
    gate_closed_ = closed;
    changed_.notify_all();
  }

  std::atomic<std::int64_t> calls_{0};
  std::atomic<std::int64_t> fail_at_{0};
  std::atomic<std::uint64_t> fail_at_offset_{kNowhere};
  std::atomic<int> error_number_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool gate_closed_ = false;
  int held_ = 0;
};

}  // namespace asterias::device::tests
