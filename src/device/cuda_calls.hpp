// The few calls of the CUDA runtime that src/device/ stands on: what the plugin implements with the real ones, and
// tests by threads and host memory.
//
// Bare calls: no check, no text, no owner. CudaDevice gives them all three. No CUDA type, so that the library compiles
// where there is no CUDA.
//
// Invariants
//   * Every call returns 0 or CUDA's error number, which failure() and error_text() explain.
//   * Nothing waits for the device but wait_event(), synchronize(), allocate(), free(), register_host(),
//     unregister_host(), and a copy from or to pageable memory, which CUDA stages.
//
// Threading: thread-safe. A thread belongs to device 0 until it calls set_device(), which launches of kernels go by; no
// other call leaves a thread elsewhere than it was. Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/stream_handle.hpp"

namespace asterias::device {

struct EventHandle {
  void* driver_event = nullptr;
};

// What an error number means to us.
enum class CudaFailure : std::uint8_t {
  kNone,
  kNotReady,     // query_event: not yet reached
  kNoDriver,     // no driver, or one that is too old for this plugin
  kNoDevice,     // no such device
  kBusy,         // another process has the device to itself
  kOutOfMemory,  // host or device memory is not to be had
  kLost,         // the device or its context is gone: nothing of it can be used any more
  kOther,
};

// One device as its driver describes it.
struct CudaDeviceFacts {
  char name[256] = {};
  std::uint64_t total_bytes = 0;
  int major = 0, minor = 0;  // compute capability
  int num_multiprocessors = 0;
};

class CudaCalls {
 public:
  // The CUDA whose runtime these are calls of, as CUDART_VERSION counts: 13000 is 13.0.
  virtual int cuda_version() = 0;

  virtual int count_devices(int& count) = 0;
  virtual int describe_device(int device, CudaDeviceFacts& facts) = 0;
  // Puts the calling thread on `device`, making its context if it is the process's first.
  virtual int set_device(int device) = 0;
  // Says whether the plugin's kernels run on the thread's device.
  virtual int check_kernels() = 0;
  // Free and all memory of `device`, whoever uses it.
  virtual int count_memory(int device, std::uint64_t& free_bytes, std::uint64_t& total_bytes) = 0;
  // Used memory of `device`, whoever uses it, without making a context; an error where NVML is not to be had.
  virtual int count_used(int device, std::uint64_t& used_bytes) = 0;

  virtual int allocate(int device, void*& memory, std::uint64_t bytes) = 0;
  virtual int free(void* memory) = 0;
  // Pins whole pages of the host for copies of every device, and takes that back; either may wait for `device`.
  virtual int register_host(int device, void* memory, std::uint64_t bytes) = 0;
  virtual int unregister_host(int device, void* memory) = 0;

  virtual int create_stream(int device, StreamHandle& stream) = 0;
  virtual int destroy_stream(StreamHandle stream) = 0;
  virtual int synchronize(StreamHandle stream) = 0;
  virtual int create_event(int device, EventHandle& event) = 0;
  virtual int destroy_event(EventHandle event) = 0;
  virtual int record_event(EventHandle event, StreamHandle stream) = 0;
  virtual int query_event(EventHandle event) = 0;
  virtual int wait_event(EventHandle event) = 0;  // blocks the calling thread, asleep
  virtual int stream_wait_event(StreamHandle stream, EventHandle event) = 0;

  virtual int copy(void* to, const void* from, std::uint64_t bytes, StreamHandle stream) = 0;
  virtual int fill(void* memory, std::uint8_t byte, std::uint64_t bytes, StreamHandle stream) = 0;

  virtual CudaFailure failure(int error) = 0;
  virtual const char* error_text(int error) = 0;  // CUDA's name and sentence for it

 protected:
  ~CudaCalls() = default;  // who uses them does not own them
};

}  // namespace asterias::device
