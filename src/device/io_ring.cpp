#include "device/io_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <system_error>
#include <thread>

#include <liburing.h>

#include "base/log.hpp"
#include "device/file_descriptor.hpp"

namespace asterias::device {
namespace {

constexpr std::uint64_t kWakeTag = UINT64_MAX;
constexpr std::uint64_t kMostAtOnce = 1ull << 30;  // an entry's length has 32 bits; the rest is asked for again

[[noreturn]] void refuse(int error_number, const char* what) {
  throw std::system_error(error_number, std::generic_category(), what);
}

class KernelRing final : public IoRing {
 public:
  explicit KernelRing(int depth) : woken_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!woken_) refuse(errno, "eventfd");
    const int failed = io_uring_queue_init(static_cast<unsigned>(depth) + 1, &ring_, 0);  // one more: the wake's poll
    if (failed != 0) refuse(-failed, "io_uring_setup");
    if (!knows_plain_transfers()) {
      io_uring_queue_exit(&ring_);
      refuse(EOPNOTSUPP, "io_uring before Linux 5.6");
    }
    poll_for_wakes();
  }
  ~KernelRing() override { io_uring_queue_exit(&ring_); }

  void start(const Transfer& transfer) override {
    io_uring_sqe* const entry = free_entry();
    const auto bytes = static_cast<unsigned>(std::min(transfer.bytes, kMostAtOnce));
    if (transfer.is_write)
      io_uring_prep_write(entry, transfer.fd, transfer.memory, bytes, transfer.offset);
    else
      io_uring_prep_read(entry, transfer.fd, transfer.memory, bytes, transfer.offset);
    entry->user_data = transfer.tag;
  }

  void wait(std::vector<Ended>& ended) override {
    do enter();
    while (!collect(ended));
  }

  void wake() noexcept override { eventfd_write(woken_.get(), 1); }

 private:
  bool knows_plain_transfers() {
    io_uring_probe* const probe = io_uring_get_probe_ring(&ring_);
    if (probe == nullptr) return false;
    const bool knows =
        io_uring_opcode_supported(probe, IORING_OP_READ) != 0 && io_uring_opcode_supported(probe, IORING_OP_WRITE) != 0;
    io_uring_free_probe(probe);
    return knows;
  }

  // There is always one: no more than the ring was opened for are in flight, and wait() hands all entries over.
  io_uring_sqe* free_entry() {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) give_up(EOVERFLOW);
    return entry;
  }

  // The kernel may be short of memory or of places (EAGAIN, EBUSY): what it did not take stays in the ring and goes
  // with the next call.
  void enter() {
    const int result = io_uring_submit_and_wait(&ring_, 1);
    if (result >= 0 || result == -EINTR) return;
    if (result != -EAGAIN && result != -EBUSY) give_up(-result);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  // Transfers may be under way into memory that their owners still hold for us: there is no safe way on.
  [[noreturn]] static void give_up(int error_number) {
    log::error(std::string("io_uring failed with transfers under way: ") + std::strerror(error_number) +
               "; set io.engine to threads");
    std::terminate();
  }

  // Appends what has ended. False: nothing has, and nobody has called wake().
  bool collect(std::vector<Ended>& ended) {
    unsigned head = 0, count = 0;
    bool was_woken = false;
    io_uring_cqe* entry = nullptr;
    io_uring_for_each_cqe(&ring_, head, entry) {
      ++count;
      if (entry->user_data == kWakeTag)
        was_woken = true;
      else
        ended.push_back({entry->user_data, entry->res});
    }
    io_uring_cq_advance(&ring_, count);
    if (was_woken) forget_wakes();
    return count > 0;
  }

  void forget_wakes() {
    eventfd_t count = 0;
    eventfd_read(woken_.get(), &count);
    poll_for_wakes();
  }

  void poll_for_wakes() {
    io_uring_sqe* const entry = free_entry();
    io_uring_prep_poll_add(entry, woken_.get(), POLLIN);
    entry->user_data = kWakeTag;
  }

  FileDescriptor woken_;
  io_uring ring_{};
};

}  // namespace

std::unique_ptr<IoRing> open_io_ring(int depth) { return std::make_unique<KernelRing>(depth); }

}  // namespace asterias::device
