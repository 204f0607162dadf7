// A CUDA device that this process has opened, and what its errors mean to a person.
//
// Opening makes the context, which takes some hundred MiB of the device for good. Memory and streams are
// CudaAccelerator's and CudaStream's.
//
// Threading: thread-safe. Units: bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "device/cuda_calls.hpp"

namespace asterias::device {

class CudaDevice {
 public:
  // Opens device `index` and puts the calling thread on it. Throws CudaError: kNoDriver, kNoSuchDevice (also for a card
  // that the plugin has no kernels for), kBusy.
  CudaDevice(CudaCalls& calls, int index);
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  CudaCalls& calls() const { return calls_; }
  int index() const { return index_; }
  const CudaDeviceFacts& facts() const { return facts_; }
  const std::string& name() const { return name_; }  // "cuda:0 (NVIDIA H200)"

  // Puts the calling thread on the device: before it launches its first kernel.
  void adopt_thread() const;

  // Counts free memory, whoever may take it.
  std::uint64_t free_bytes() const;

  // Counts what this process holds: what is used now beyond what was before the context was made. Where that is not to
  // be known (no NVML), everything that is used counts, other processes' memory included.
  std::uint64_t held_bytes() const;

  // Throws the CudaError of `error` unless it is 0. `what` was being done: "copying to the device".
  void check(int error, const char* what) const;
  CudaError error_of(int error, const char* what) const;

 private:
  CudaCalls& calls_;
  const int index_;
  std::string name_;
  CudaDeviceFacts facts_;
  std::uint64_t used_before_ = 0;  // by other processes, when the device was opened
};

}  // namespace asterias::device
