// CudaCalls by the CUDA runtime, and what the plugin exports for src/device/.
#include <cstring>

#include <cuda_runtime_api.h>

#include "device/cuda/error_text.hpp"
#include "device/cuda_calls.hpp"

namespace asterias::device {

bool has_kernels_for_this_device();                                       // probe_kernel.cu
bool count_used_by_nvml(const char* pci_bus, std::uint64_t& used_bytes);  // nvml_memory.cpp

namespace {

cudaStream_t stream_of(StreamHandle stream) { return static_cast<cudaStream_t>(stream.driver_stream); }
cudaEvent_t event_of(EventHandle event) { return static_cast<cudaEvent_t>(event.driver_event); }

// An error of a call stays in the thread and would be found by torch's next check; a sticky one stays all the same.
int taken(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) cudaGetLastError();
  return error;
}

// Puts the calling thread on a device for a scope, and then back to where its owner wants it.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    cudaGetDevice(&before_);
    if (device != before_) cudaSetDevice(device);
    device_ = device;
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() {
    if (device_ != before_) cudaSetDevice(before_);
  }

 private:
  int before_ = 0, device_ = 0;
};

class RuntimeCalls final : public CudaCalls {
 public:
  int cuda_version() override { return CUDART_VERSION; }

  int count_devices(int& count) override { return taken(cudaGetDeviceCount(&count)); }

  int describe_device(int device, CudaDeviceFacts& facts) override {
    cudaDeviceProp properties;
    if (const int error = taken(cudaGetDeviceProperties(&properties, device))) return error;
    std::snprintf(facts.name, sizeof(facts.name), "%s", properties.name);
    facts.total_bytes = properties.totalGlobalMem;
    facts.major = properties.major;
    facts.minor = properties.minor;
    facts.num_multiprocessors = properties.multiProcessorCount;
    return 0;
  }

  int set_device(int device) override { return taken(cudaSetDevice(device)); }

  int check_kernels() override { return has_kernels_for_this_device() ? 0 : cudaErrorNoKernelImageForDevice; }

  int count_memory(int device, std::uint64_t& free_bytes, std::uint64_t& total_bytes) override {
    const OnDevice on(device);
    std::size_t free_now = 0, total = 0;
    const int error = taken(cudaMemGetInfo(&free_now, &total));
    free_bytes = free_now;
    total_bytes = total;
    return error;
  }
  int count_used(int device, std::uint64_t& used_bytes) override {
    char pci_bus[32] = {};
    if (const int error = taken(cudaDeviceGetPCIBusId(pci_bus, sizeof(pci_bus), device))) return error;
    return count_used_by_nvml(pci_bus, used_bytes) ? 0 : cudaErrorNotSupported;
  }

  int allocate(int device, void*& memory, std::uint64_t bytes) override {
    const OnDevice on(device);
    return taken(cudaMalloc(&memory, bytes));
  }
  int free(void* memory) override { return taken(cudaFree(memory)); }
  int register_host(int device, void* memory, std::uint64_t bytes) override {
    const OnDevice on(device);
    return taken(cudaHostRegister(memory, bytes, cudaHostRegisterPortable));
  }
  int unregister_host(int device, void* memory) override {
    const OnDevice on(device);
    return taken(cudaHostUnregister(memory));
  }

  int create_stream(int device, StreamHandle& stream) override {
    const OnDevice on(device);
    cudaStream_t made = nullptr;
    const int error = taken(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
    stream.driver_stream = made;
    return error;
  }
  int destroy_stream(StreamHandle stream) override { return taken(cudaStreamDestroy(stream_of(stream))); }
  int synchronize(StreamHandle stream) override { return taken(cudaStreamSynchronize(stream_of(stream))); }

  int create_event(int device, EventHandle& event) override {
    const OnDevice on(device);
    cudaEvent_t made = nullptr;
    const int error = taken(cudaEventCreateWithFlags(&made, cudaEventDisableTiming | cudaEventBlockingSync));
    event.driver_event = made;
    return error;
  }
  int destroy_event(EventHandle event) override { return taken(cudaEventDestroy(event_of(event))); }
  int record_event(EventHandle event, StreamHandle stream) override {
    return taken(cudaEventRecord(event_of(event), stream_of(stream)));
  }
  int query_event(EventHandle event) override { return taken(cudaEventQuery(event_of(event))); }
  int wait_event(EventHandle event) override { return taken(cudaEventSynchronize(event_of(event))); }
  int stream_wait_event(StreamHandle stream, EventHandle event) override {
    return taken(cudaStreamWaitEvent(stream_of(stream), event_of(event), 0));
  }

  int copy(void* to, const void* from, std::uint64_t bytes, StreamHandle stream) override {
    return taken(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)));
  }
  int fill(void* memory, std::uint8_t byte, std::uint64_t bytes, StreamHandle stream) override {
    return taken(cudaMemsetAsync(memory, byte, bytes, stream_of(stream)));
  }

  CudaFailure failure(int error) override {
    switch (error) {
      case cudaSuccess: return CudaFailure::kNone;
      case cudaErrorNotReady: return CudaFailure::kNotReady;
      case cudaErrorInsufficientDriver:
      case cudaErrorInitializationError:
      case cudaErrorSystemDriverMismatch:
      case cudaErrorCompatNotSupportedOnDevice:
      case cudaErrorStubLibrary: return CudaFailure::kNoDriver;
      case cudaErrorNoDevice:
      case cudaErrorInvalidDevice: return CudaFailure::kNoDevice;
      case cudaErrorDevicesUnavailable:
      case cudaErrorDeviceAlreadyInUse: return CudaFailure::kBusy;
      case cudaErrorMemoryAllocation: return CudaFailure::kOutOfMemory;
      case cudaErrorCudartUnloading:  // the process is ending
      case cudaErrorIllegalAddress:
      case cudaErrorLaunchTimeout:
      case cudaErrorLaunchFailure:
      case cudaErrorHardwareStackError:
      case cudaErrorIllegalInstruction:
      case cudaErrorMisalignedAddress:
      case cudaErrorInvalidAddressSpace:
      case cudaErrorInvalidPc:
      case cudaErrorAssert:
      case cudaErrorECCUncorrectable:
      case cudaErrorNvlinkUncorrectable:
      case cudaErrorDeviceUninitialized:
      case cudaErrorContextIsDestroyed:
      case cudaErrorExternalDevice:
      case cudaErrorUnknown: return CudaFailure::kLost;
      default: return CudaFailure::kOther;
    }
  }

  const char* error_text(int error) override { return cuda_error_text(error); }
};

}  // namespace
}  // namespace asterias::device

// What src/device/cuda_plugin.cpp looks for.
extern "C" {
[[gnu::visibility("default")]] const char* asterias_cuda_interface() { return ASTERIAS_PLUGIN_INTERFACE; }
[[gnu::visibility("default")]] asterias::device::CudaCalls* asterias_cuda_calls() {
  static asterias::device::RuntimeCalls calls;
  return &calls;
}
}
