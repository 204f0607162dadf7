// What the runtime needs of an accelerator: memory in one piece, a stream that computes, a queue of copies each way,
// and points by which they wait for each other without the host.
//
// Implementations: CudaAccelerator (a card, through the plugin) and SimulatedAccelerator (DRAM with declared speeds);
// both pass tests/device/accelerator_suite.hpp. Who lies where in the memory is decided above (ArenaBook, chunk/).
//
// Invariants
//   * Memory is there in full from the start and never moves, grows or is given back while the accelerator lives.
//   * No call waits for the device but the destructor, StreamPoint::wait and the end of what take_besides gave.
//   * A copy's ticket is done when its bytes have arrived; start_after() is the same moment for streams.
//   * A failure of the device is a CudaError, on the call that met it or in a ticket; after kLost every call gives one.
//
// Ranges are reused by order: whoever uses a range next, in whatever stream, first waits there for the points behind
// its last uses. That is less than waiting for what the other streams have been told so far: the host runs dozens of
// operators ahead, and a copy that waits for its range alone runs beside them.
//
// Threading: thread-safe; a thread that launches kernels calls adopt_thread() first. Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "device/copy_queue.hpp"
#include "device/host_pinner.hpp"
#include "device/stream_handle.hpp"
#include "device/stream_point.hpp"

namespace asterias::device {

// Work in order, enqueued from any thread.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  // What kernels are launched into.
  virtual StreamHandle handle() const = 0;

  // Marks the end of what was enqueued so far.
  virtual SharedPoint point() = 0;

  // Lets what is enqueued from now on start after `point`, of any stream of the same accelerator. Costs nothing for a
  // point of this stream.
  virtual void wait_for(const SharedPoint& point) = 0;

  // Fills a range of the accelerator's memory with `byte`.
  virtual void fill(std::byte* memory, std::uint8_t byte, std::uint64_t bytes) = 0;

  // Copies between two ranges of the accelerator's memory, which do not overlap.
  virtual void copy(std::byte* to, const std::byte* from, std::uint64_t bytes) = 0;
};

// Lets what `stream` does from now on start after `transfer`: by its point where it has one, else by waiting for it
// here. What a transfer with a point failed of, its ticket throws, later.
inline void start_after(Stream& stream, Ticket& transfer) {
  if (const SharedPoint point = transfer.point()) return stream.wait_for(point);
  transfer.wait();
}

// A direction of the link.
class LinkQueue : public CopyQueue {
 public:
  // Lets copies that are submitted from now on start after `point`.
  virtual void wait_for(const SharedPoint& point) = 0;
};

class Accelerator {
 public:
  Accelerator() = default;
  Accelerator(const Accelerator&) = delete;
  Accelerator& operator=(const Accelerator&) = delete;
  virtual ~Accelerator() = default;  // waits for what was enqueued

  // As people name it: "cuda:0, NVIDIA H200".
  virtual const std::string& name() const = 0;

  virtual std::byte* memory() const = 0;
  virtual std::uint64_t memory_bytes() const = 0;
  // Says whether the host may read and write memory() itself: it is DRAM then.
  virtual bool is_host_memory() const = 0;

  // Takes memory of the device besides memory(): for what is measured beyond a limit. Null when there is none. Slow,
  // and its end waits for the device.
  virtual std::shared_ptr<std::byte> take_besides(std::uint64_t bytes) = 0;

  // What of the limit that it was opened with is kept for context and libraries.
  virtual std::uint64_t reserved_bytes() const = 0;
  // Counts what this process holds of the device besides memory(): context, kernels, libraries' workspaces.
  virtual std::uint64_t library_bytes() const = 0;

  virtual void adopt_thread() = 0;

  // Pins memory of the host for both links; may outlive the accelerator.
  virtual std::shared_ptr<HostPinner> host_pinner() = 0;

  virtual Stream& compute() = 0;
  virtual LinkQueue& to_device() = 0;
  virtual LinkQueue& to_host() = 0;
};

}  // namespace asterias::device
