// System calls on swap files that go wrong as ordered, in a whole process: no order passes through the code under test.
//
// The library replaces the C library's pread, pwrite, fallocate and nanosleep, and liburing's queue_init and
// submit_and_wait: an io_uring's transfers meet the same faults as they are handed to the kernel. A test program links
// it and gives its orders with order_faults(); a program that is not a test is started with it in LD_PRELOAD and its
// orders in ASTERIAS_FAULTS, as parse_fault_orders() reads them. Files other than swap files are left alone. For one
// file of a unit test there is tests/device/faulty_file_calls.hpp.
//
// Threading: thread-safe. Units: in the names.
#pragma once

#include <cstdint>
#include <string>

namespace asterias::tests {

struct FaultOrders {
  std::int64_t fail_read = 0;              // number of the read that fails, from 1; 0: none
  std::int64_t fail_write = 0;             // the same of writes (1: the file's header)
  int error_number = 5;                    // with which (EIO)
  std::uint64_t drive_bytes = UINT64_MAX;  // a file cannot grow beyond: ENOSPC
  bool short_transfers = false;            // each call moves 512 to 3584 bytes at most
  bool interrupted = false;                // every second call fails with EINTR
  int io_delay_us = 0;                     // most that a transfer waits first; every eighth waits
  int refuse_ring = 0;                     // no io_uring can be set up: this is why (EPERM, ENOMEM)
  bool ring_full = false;                  // every third call to the kernel for a ring says EAGAIN, and takes nothing
  int copy_delay_us = 0;                   // most that a copy over a declared link is late
};

// Takes effect for all later calls; the counts of reads and writes begin anew.
void order_faults(const FaultOrders& orders);

// Faults while it lives.
class Faults {
 public:
  explicit Faults(const FaultOrders& orders) { order_faults(orders); }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;
  ~Faults() { order_faults({}); }
};

// Reads "fail_write=20 error=28 short=1": the fields above, by these names: fail_read, fail_write, error, drive_bytes,
// short, interrupted, io_delay_us, refuse_ring, ring_full, copy_delay_us. An
// unknown one ends the process with a message.
FaultOrders parse_fault_orders(const std::string& text);

}  // namespace asterias::tests
