// NVML, the library behind nvidia-smi, asked for one figure. It is opened by name: a container may lack it.
#include <cstdint>
#include <dlfcn.h>

namespace asterias::device {
namespace {

// As nvml.h has them; the interface is versioned and stays.
struct NvmlMemory {
  unsigned long long total, free, used;
};
using Initialize = int (*)();
using FindDevice = int (*)(const char* pci_bus, void** device);
using ReadMemory = int (*)(void* device, NvmlMemory* memory);

struct Nvml {
  FindDevice find_device = nullptr;
  ReadMemory read_memory = nullptr;

  Nvml() {
    void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    const auto initialize = reinterpret_cast<Initialize>(dlsym(library, "nvmlInit_v2"));
    if (!initialize || initialize() != 0) return;
    find_device = reinterpret_cast<FindDevice>(dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2"));
    read_memory = reinterpret_cast<ReadMemory>(dlsym(library, "nvmlDeviceGetMemoryInfo"));
  }
};

}  // namespace

// Counts the used memory of the device on `pci_bus`; false where NVML cannot say.
bool count_used_by_nvml(const char* pci_bus, std::uint64_t& used_bytes) {
  static const Nvml kNvml;
  if (!kNvml.find_device || !kNvml.read_memory) return false;
  void* device = nullptr;
  NvmlMemory memory{};
  if (kNvml.find_device(pci_bus, &device) != 0 || kNvml.read_memory(device, &memory) != 0) return false;
  used_bytes = memory.used;
  return true;
}

}  // namespace asterias::device
