// System calls that go wrong as a test orders: short transfers, errors at the nth call, and a gate that holds calls
// back; the same for the transfers of an io_uring, between the file and the kernel.
//
// Threading: thread-safe; orders are given before the requests they are meant for.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "device/block_file.hpp"
#include "device/io_ring.hpp"

namespace asterias::device::tests {

class FaultyFileCalls : public FileCalls {
 public:
  std::atomic<bool> short_transfers{false};  // each call moves 512 to 3584 bytes at most, in turn
  std::atomic<bool> interrupted{false};      // every second call fails with EINTR
  std::atomic<bool> refuse_direct{false};    // EINVAL for transfers with O_DIRECT
  std::atomic<int> allocate_error{0};
  std::atomic<int> ring_error{0};  // open_ring is refused with it

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

  // Where transfers started in the file, in the order of their starts.
  std::vector<std::uint64_t> started_offsets() {
    const std::lock_guard lock(mutex_);
    return started_offsets_;
  }

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

  std::unique_ptr<IoRing> open_ring(int depth) override {
    if (ring_error != 0) throw std::system_error(ring_error, std::generic_category(), "io_uring_setup");
    return std::make_unique<Ring>(*this, FileCalls::open_ring(depth));
  }

 private:
  static constexpr std::uint64_t kNowhere = UINT64_MAX;

  // Hands transfers on to the kernel's ring once the gate is open, shortened; those that fail never get there.
  class Ring final : public IoRing {
   public:
    Ring(FaultyFileCalls& calls, std::unique_ptr<IoRing> kernel) : calls_(calls), kernel_(std::move(kernel)) {
      const std::lock_guard lock(calls_.mutex_);
      calls_.rings_.push_back(this);
    }
    ~Ring() override {
      const std::lock_guard lock(calls_.mutex_);
      std::erase(calls_.rings_, this);
    }

    void start(const Transfer& transfer) override {
      waiting_.emplace_back(transfer, calls_.begin_call(transfer.offset));
    }

    void wait(std::vector<Ended>& ended) override {
      if (calls_.may_pass(static_cast<int>(waiting_.size()), held_))
        for (const auto& [transfer, call] : std::exchange(waiting_, {})) pass(transfer, call, ended);
      if (!ended.empty()) kernel_->wake();  // what failed is told at once
      kernel_->wait(ended);
    }

    void wake() noexcept override { kernel_->wake(); }

   private:
    void pass(Transfer transfer, std::int64_t call, std::vector<Ended>& ended) {
      const int error_number = calls_.fault_of(call, transfer.fd, transfer.offset);
      if (error_number != 0) return ended.push_back({transfer.tag, -error_number});
      transfer.bytes = calls_.shortened(transfer.bytes);
      kernel_->start(transfer);
    }

    FaultyFileCalls& calls_;
    const std::unique_ptr<IoRing> kernel_;
    std::vector<std::pair<Transfer, std::int64_t>> waiting_;  // with the number of its call
    int held_ = 0;
  };

  int meet_faults(int fd, std::uint64_t offset) {
    const std::int64_t call = begin_call(offset);
    hold_at_gate();
    return fault_of(call, fd, offset);
  }

  std::int64_t begin_call(std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    started_offsets_.push_back(offset);
    return ++calls_;
  }

  int fault_of(std::int64_t call, int fd, std::uint64_t offset) {
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

  // The gate for a ring, whose one thread must not be held: true when it is open. `held` of the ring's transfers stood
  // at it before, `standing` want to pass now.
  bool may_pass(int standing, int& held) {
    const std::lock_guard lock(mutex_);
    const int staying = gate_closed_ ? standing : 0;
    held_ += staying - std::exchange(held, staying);
    changed_.notify_all();
    return !gate_closed_;
  }

  void set_gate(bool closed) {
    const std::lock_guard lock(mutex_);
    gate_closed_ = closed;
    changed_.notify_all();
    for (Ring* ring : rings_) ring->wake();
  }

  std::atomic<std::int64_t> calls_{0};
  std::atomic<std::int64_t> fail_at_{0};
  std::atomic<std::uint64_t> fail_at_offset_{kNowhere};
  std::atomic<int> error_number_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  bool gate_closed_ = false;
  int held_ = 0;
  std::vector<Ring*> rings_;
  std::vector<std::uint64_t> started_offsets_;
};

}  // namespace asterias::device::tests
