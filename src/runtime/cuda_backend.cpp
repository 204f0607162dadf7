#include "runtime/cuda_backend.hpp"

#include <charconv>
#include <exception>
#include <filesystem>
#include <limits>

#include "base/error.hpp"
#include "device/cuda_plugin.hpp"
#include "hybrid_adam/cuda_kernels.hpp"

namespace asterias::runtime {
namespace {

constexpr const char* kTorchPluginName = "libasterias_torch_cuda.so";

struct Opened {
  CudaBackend backend;
  std::exception_ptr error;
};

// The two are built and installed side by side.
CudaBackend open() {
  const auto& plugin = device::CudaPlugin::open();
  const auto path = std::filesystem::path(plugin.path()).replace_filename(kTorchPluginName);
  static const device::Plugin kTorchPlugin(path, device::Plugin::Scope::kGlobal);
  const auto torch = reinterpret_cast<TorchDevice* (*)()>(kTorchPlugin.symbol("asterias_torch_device"));
  return {&plugin.calls(), &hybrid_adam::cuda_kernels(plugin), torch()};
}

Opened& opened() {
  static Opened result = [] {
    Opened now;
    try {
      now.backend = open();
    } catch (const CudaError&) {
      now.error = std::current_exception();
    }
    return now;
  }();
  return result;
}

[[maybe_unused]] const bool kIsOpenedAtStart = device::CudaPlugin::has_driver() && !opened().error;

}  // namespace

const CudaBackend& cuda_backend() {
  if (opened().error) std::rethrow_exception(opened().error);
  return opened().backend;
}

bool has_card() {
  if (opened().error) return false;
  auto& calls = *opened().backend.calls;
  int count = 0;
  return calls.failure(calls.count_devices(count)) == device::CudaFailure::kNone && count > 0;
}

void replace_cuda_backend(const CudaBackend& backend) { opened() = {backend, nullptr}; }

int cuda_index(const std::string& device) {
  const auto colon = device.find(':');
  if (colon == device.npos) return 0;
  int index = std::numeric_limits<int>::max();  // of a number beyond all counts
  std::from_chars(device.data() + colon + 1, device.data() + device.size(), index);
  return index;
}

}  // namespace asterias::runtime
