#include "tests/faults/system_call_faults.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <sstream>
#include <string_view>
#include <unistd.h>
#include <utility>

#include <liburing.h>

namespace asterias::tests {
namespace {

// Plain atomics rather than a lock: a delayed call must not hold up the others.
struct Orders {
  std::atomic<std::int64_t> fail_read{0}, fail_write{0};
  std::atomic<int> error_number{0};
  std::atomic<std::uint64_t> drive_bytes{UINT64_MAX};
  std::atomic<bool> short_transfers{false}, interrupted{false}, ring_full{false};
  std::atomic<int> io_delay_us{0}, copy_delay_us{0}, refuse_ring{0};
  std::atomic<std::int64_t> reads{0}, writes{0}, calls{0}, ring_calls{0};
};

void apply(Orders& orders, const FaultOrders& wanted) {
  orders.reads = orders.writes = orders.calls = 0;
  orders.fail_read = wanted.fail_read;
  orders.fail_write = wanted.fail_write;
  orders.error_number = wanted.error_number;
  orders.drive_bytes = wanted.drive_bytes;
  orders.short_transfers = wanted.short_transfers;
  orders.interrupted = wanted.interrupted;
  orders.io_delay_us = wanted.io_delay_us;
  orders.copy_delay_us = wanted.copy_delay_us;
  orders.refuse_ring = wanted.refuse_ring;
  orders.ring_full = wanted.ring_full;
}

// Never destroyed: threads of the program may outlive static objects.
Orders& orders() {
  static Orders& the_orders = *[] {
    auto* made = new Orders;
    const char* text = std::getenv("ASTERIAS_FAULTS");
    if (text != nullptr) apply(*made, parse_fault_orders(text));
    return made;
  }();
  return the_orders;
}

template <class Function>
Function* next_definition(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

int real_nanosleep(const timespec* time, timespec* left) {
  static auto* const next = next_definition<int(const timespec*, timespec*)>("nanosleep");
  return next(time, left);
}

void wait_us(std::int64_t us) {
  const timespec time{us / 1'000'000, us % 1'000'000 * 1000};
  real_nanosleep(&time, nullptr);
}

// Spreads the numbers 0, 1, 2, ... over [0, most] (the finalizer of SplitMix64).
std::int64_t scatter(std::int64_t number, int most) {
  auto x = static_cast<std::uint64_t>(number) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return static_cast<std::int64_t>((x ^ (x >> 31)) % (static_cast<std::uint64_t>(most) + 1));
}

bool is_swap_file(int fd) {
  std::array<char, 4096> path{};
  const auto length = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
  if (length <= 0) return false;
  const std::string_view name(path.data(), static_cast<std::size_t>(length));
  return name.find("/asterias-") != name.npos && name.find(".swap") != name.npos;
}

// Returns the errno that a transfer is to fail with, 0 for none, after the delay that it is to suffer.
int meet_faults(std::atomic<std::int64_t>& count, const std::atomic<std::int64_t>& fail_at) {
  const std::int64_t call = ++orders().calls;
  if (orders().io_delay_us > 0 && call % 8 == 0) wait_us(scatter(call, orders().io_delay_us));
  if (++count == fail_at) return orders().error_number;
  return orders().interrupted && call % 2 == 0 ? EINTR : 0;
}

std::size_t shortened(std::size_t bytes) {
  const auto sectors = 1 + static_cast<std::size_t>(orders().calls) % 7;
  return orders().short_transfers ? std::min(bytes, 512 * sectors) : bytes;
}

template <class Next, class Memory>
ssize_t transfer(Next* next, std::atomic<std::int64_t>& count, const std::atomic<std::int64_t>& fail_at, int fd,
                 Memory* memory, std::size_t bytes, off_t offset) {
  if (!is_swap_file(fd)) return next(fd, memory, bytes, offset);
  errno = meet_faults(count, fail_at);
  return errno != 0 ? -1 : next(fd, memory, shortened(bytes), offset);
}

// What a ring's transfers will be said to have failed with, by their tag: the kernel does nothing in their place. A
// ring has one thread, and only that one comes here for it.
class Doomed {
 public:
  void add(const io_uring* ring, std::uint64_t tag, int error_number) {
    const std::lock_guard lock(mutex_);
    errors_[{ring, tag}] = error_number;
  }
  // Takes the transfer's error out; 0: it has none.
  int take(const io_uring* ring, std::uint64_t tag) {
    const std::lock_guard lock(mutex_);
    const auto found = errors_.extract({ring, tag});
    return found.empty() ? 0 : found.mapped();
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<const io_uring*, std::uint64_t>, int> errors_;
};

Doomed& doomed() {
  static Doomed& the_doomed = *new Doomed;
  return the_doomed;
}

void meet_faults(const io_uring* ring, io_uring_sqe& entry) {
  const bool is_write = entry.opcode == IORING_OP_WRITE;
  if ((!is_write && entry.opcode != IORING_OP_READ) || !is_swap_file(entry.fd)) return;
  const int error_number =
      is_write ? meet_faults(orders().writes, orders().fail_write) : meet_faults(orders().reads, orders().fail_read);
  entry.len = static_cast<unsigned>(shortened(entry.len));
  if (error_number == 0) return;
  const std::uint64_t tag = entry.user_data;
  io_uring_prep_nop(&entry);
  entry.user_data = tag;
  doomed().add(ring, tag, error_number);
}

void meet_faults_before(io_uring* ring) {
  for (unsigned at = ring->sq.sqe_head; at != ring->sq.sqe_tail; ++at)
    meet_faults(ring, ring->sq.sqes[at & *ring->sq.kring_mask]);
}

void tell_faults_after(io_uring* ring) {
  unsigned head = 0;
  io_uring_cqe* entry = nullptr;
  io_uring_for_each_cqe(ring, head, entry) {
    const int error_number = doomed().take(ring, entry->user_data);
    if (error_number != 0) entry->res = -error_number;
  }
}

}  // namespace

void order_faults(const FaultOrders& wanted) { apply(orders(), wanted); }

FaultOrders parse_fault_orders(const std::string& text) {
  FaultOrders wanted;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto equals = std::min(word.find('='), word.size());
    const std::string name = word.substr(0, equals);
    const std::uint64_t value = std::strtoull(word.c_str() + std::min(equals + 1, word.size()), nullptr, 10);
    const auto number = static_cast<int>(value);
    if (name == "fail_read")
      wanted.fail_read = number;
    else if (name == "fail_write")
      wanted.fail_write = number;
    else if (name == "error")
      wanted.error_number = number;
    else if (name == "drive_bytes")
      wanted.drive_bytes = value;
    else if (name == "short")
      wanted.short_transfers = number != 0;
    else if (name == "interrupted")
      wanted.interrupted = number != 0;
    else if (name == "io_delay_us")
      wanted.io_delay_us = number;
    else if (name == "refuse_ring")
      wanted.refuse_ring = number;
    else if (name == "ring_full")
      wanted.ring_full = number != 0;
    else if (name == "copy_delay_us")
      wanted.copy_delay_us = number;
    else {
      std::fprintf(stderr, "ASTERIAS_FAULTS: '%s' is no order\n", word.c_str());
      std::abort();
    }
  }
  return wanted;
}

}  // namespace asterias::tests

// ---- what the C library's functions are replaced by -----------------------------------------------------------------

using asterias::tests::next_definition;
using asterias::tests::orders;

extern "C" {

ssize_t pread(int fd, void* into, std::size_t bytes, off_t offset) {
  static auto* const next = next_definition<ssize_t(int, void*, std::size_t, off_t)>("pread");
  return asterias::tests::transfer(next, orders().reads, orders().fail_read, fd, into, bytes, offset);
}

ssize_t pwrite(int fd, const void* from, std::size_t bytes, off_t offset) {
  static auto* const next = next_definition<ssize_t(int, const void*, std::size_t, off_t)>("pwrite");
  return asterias::tests::transfer(next, orders().writes, orders().fail_write, fd, from, bytes, offset);
}

int io_uring_queue_init(unsigned entries, io_uring* ring, unsigned flags) {
  static auto* const next = next_definition<int(unsigned, io_uring*, unsigned)>("io_uring_queue_init");
  const int refusal = orders().refuse_ring;
  return refusal != 0 ? -refusal : next(entries, ring, flags);
}

int io_uring_submit_and_wait(io_uring* ring, unsigned count) {
  static auto* const next = next_definition<int(io_uring*, unsigned)>("io_uring_submit_and_wait");
  if (orders().ring_full && ++orders().ring_calls % 3 == 0) return -EAGAIN;
  asterias::tests::meet_faults_before(ring);
  const int result = next(ring, count);
  asterias::tests::tell_faults_after(ring);
  return result;
}

int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  static auto* const next = next_definition<int(int, int, off_t, off_t)>("fallocate");
  if (static_cast<std::uint64_t>(offset + bytes) <= orders().drive_bytes || !asterias::tests::is_swap_file(fd))
    return next(fd, mode, offset, bytes);
  errno = ENOSPC;
  return -1;
}

// The simulated accelerator's copies sleep until their declared link would have been done.
int nanosleep(const timespec* time, timespec* left) {
  const int most = orders().copy_delay_us;
  if (most > 0) asterias::tests::wait_us(asterias::tests::scatter(++orders().calls, most));
  return asterias::tests::real_nanosleep(time, left);
}

}  // extern "C"
