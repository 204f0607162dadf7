#include "runtime/cuda_backend.hpp"

#include <charconv>
#include <filesystem>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"
#include "device/cuda_plugin.hpp"
#include "hybrid_adam/cuda_kernels.hpp"
#include "runtime/torch_device.hpp"

namespace asterias::runtime {
namespace {

constexpr const char* kTorchPluginName = "libasterias_torch_cuda.so";

struct Opened {
  CudaBackend backend;
  std::optional<CudaError> error;
};

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// A process would have two CUDA runtimes, whose handles and errors mean nothing to each other.
void check_versions(const CudaBackend& backend) {
  const int ours = backend.calls->cuda_version(), torchs = backend.torch->cuda_version();
  if (ours / 1000 == torchs / 1000) return;
  throw CudaError(CudaError::Cause::kNoPlugin,
                  "the CUDA plugin cannot be used: it was built with CUDA " + version_text(ours) +
                      ", and libtorch_cuda with CUDA " + version_text(torchs) + "; build it with nvcc " +
                      std::to_string(torchs / 1000) + " (CMAKE_CUDA_COMPILER), take a libtorch for CUDA " +
                      std::to_string(ours / 1000) + ", or use device \"cpu\" or \"simulated\"");
}

// The two are built and installed side by side.
CudaBackend open() {
  const auto& plugin = device::CudaPlugin::open();
  const auto path = std::filesystem::path(plugin.path()).replace_filename(kTorchPluginName);
  static const device::Plugin kTorchPlugin(path, device::Plugin::Scope::kGlobal);
  const auto torch = reinterpret_cast<TorchDevice* (*)()>(kTorchPlugin.symbol("asterias_torch_device"));
  return {&plugin.calls(), &hybrid_adam::cuda_kernels(plugin), torch()};
}

Opened attempt(const std::function<CudaBackend()>& open_backend) {
  Opened now;
  try {
    now.backend = open_backend();
    check_versions(now.backend);
  } catch (const CudaError& error) {
    now.error = error;
  }
  return now;
}

Opened& opened() {
  static Opened result = attempt(open);
  return result;
}

[[maybe_unused]] const bool kIsOpenedAtStart = device::CudaPlugin::has_driver() && !opened().error;

}  // namespace

const CudaBackend& cuda_backend() {
  if (opened().error) throw CudaError(*opened().error);
  return opened().backend;
}

bool has_card() {
  if (const auto& error = opened().error) {
    static std::once_flag said;
    if (error->cause() == CudaError::Cause::kNoPlugin) std::call_once(said, [&] { log::warning(error->what()); });
    return false;
  }
  auto& calls = *opened().backend.calls;
  int count = 0;
  return calls.failure(calls.count_devices(count)) == device::CudaFailure::kNone && count > 0;
}

void replace_cuda_backend(const CudaBackend& backend) {
  opened() = attempt([&backend] { return backend; });
}

int cuda_index(const std::string& device) {
  const auto colon = device.find(':');
  if (colon == device.npos) return 0;
  int index = std::numeric_limits<int>::max();  // of a number beyond all counts
  std::from_chars(device.data() + colon + 1, device.data() + device.size(), index);
  return index;
}

}  // namespace asterias::runtime
