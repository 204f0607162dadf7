#include "device/cuda_device.hpp"

#include <algorithm>

#include "base/byte_size.hpp"

namespace asterias::device {
namespace {

using Cause = CudaError::Cause;

std::string number_of(int index) { return "cuda:" + std::to_string(index); }

std::string asked_for(int index) { return "device \"" + number_of(index) + "\" was asked for, but "; }

[[noreturn]] void refuse_driver(CudaCalls& calls, int index, int error) {
  throw CudaError(Cause::kNoDriver,
                  asked_for(index) + "the NVIDIA driver does not serve this program: " + calls.error_text(error) +
                      "; nvidia-smi must list the card, and the driver must be as new as the CUDA that this build "
                      "was made with; or use device \"cpu\" or \"simulated\"");
}

int count_devices(CudaCalls& calls, int index) {
  int count = 0;
  const int error = calls.count_devices(count);
  const CudaFailure failure = calls.failure(error);
  if (failure == CudaFailure::kNoDevice) return 0;
  if (failure != CudaFailure::kNone) refuse_driver(calls, index, error);
  return count;
}

std::string device_list(CudaCalls& calls, int count) {
  std::string list;
  for (int i = 0; i < count; ++i) {
    CudaDeviceFacts facts;
    if (calls.describe_device(i, facts) != 0) continue;
    list += (list.empty() ? "" : ", ") + number_of(i) + " " + facts.name;
  }
  return list.empty() ? "no CUDA device" : list;
}

}  // namespace

CudaDevice::CudaDevice(CudaCalls& calls, int index) : calls_(calls), index_(index), name_(number_of(index)) {
  const int count = count_devices(calls, index);
  if (index < 0 || index >= count)
    throw CudaError(Cause::kNoSuchDevice, asked_for(index) + "this machine shows " + device_list(calls, count) +
                                              "; name one of them (CUDA_VISIBLE_DEVICES may hide others)");
  check(calls_.describe_device(index, facts_), "asking what it is");
  name_ += " (" + std::string(facts_.name) + ")";
  const bool knows_before = calls_.failure(calls_.count_used(index, used_before_)) == CudaFailure::kNone;
  if (!knows_before) used_before_ = 0;
  check(calls_.set_device(index), "opening it");
  if (calls_.check_kernels() != 0)
    throw CudaError(Cause::kNoSuchDevice,
                    name_ + " has compute capability " + std::to_string(facts_.major) + "." +
                        std::to_string(facts_.minor) +
                        ", and this build of libasterias_cuda.so has no kernels for it; build with "
                        "-DASTERIAS_CUDA_ARCHITECTURES=" +
                        std::to_string(10 * facts_.major + facts_.minor));
}

void CudaDevice::adopt_thread() const { check(calls_.set_device(index_), "taking up a thread"); }

std::uint64_t CudaDevice::free_bytes() const {
  std::uint64_t free_now = 0, total = 0;
  check(calls_.count_memory(index_, free_now, total), "counting its memory");
  return free_now;
}

std::uint64_t CudaDevice::held_bytes() const {
  std::uint64_t used = 0;
  if (calls_.failure(calls_.count_used(index_, used)) != CudaFailure::kNone) {
    std::uint64_t free_now = 0, total = 0;
    check(calls_.count_memory(index_, free_now, total), "counting its memory");
    used = total - free_now;
  }
  return used - std::min(used, used_before_);
}

void CudaDevice::check(int error, const char* what) const {
  if (error != 0) throw error_of(error, what);
}

CudaError CudaDevice::error_of(int error, const char* what) const {
  const std::string failed = name_ + ": " + what + " failed: " + calls_.error_text(error);
  switch (calls_.failure(error)) {
    case CudaFailure::kNoDriver:
    case CudaFailure::kNoDevice: return {Cause::kNoDriver, failed + "; nvidia-smi must list the card"};
    case CudaFailure::kBusy:
      return {Cause::kBusy, failed +
                                "; another process has it to itself (nvidia-smi names it): wait for that one, or "
                                "name another device"};
    case CudaFailure::kOutOfMemory:
      return {Cause::kBusy, failed + "; of its " + format_bytes(facts_.total_bytes) +
                                " too little is left: end what else uses it, or set tiers.gpu.limit lower"};
    case CudaFailure::kLost:
      return {Cause::kLost, failed +
                                "; it is lost to this process. What was saved is whole: start again from the last "
                                "checkpoint. The kernel's log (Xid) may say why"};
    default: return {Cause::kFailed, failed + "; what was saved is whole: start again from the last checkpoint"};
  }
}

}  // namespace asterias::device
