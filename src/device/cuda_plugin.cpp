#include "device/cuda_plugin.hpp"

#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/error.hpp"

namespace asterias::device {
namespace {

constexpr const char* kPluginName = "libasterias_cuda.so";
constexpr const char* kRemedy =
    "; build it (ASTERIAS_CUDA=ON) and put it beside the program, name it in ASTERIAS_CUDA_PLUGIN, or use device "
    "\"cpu\" or \"simulated\"";

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw CudaError(CudaError::Cause::kNoPlugin, "the CUDA plugin " + path + " cannot be used: " + why + kRemedy);
}

std::string loader_error() {
  const char* const text = dlerror();
  return text ? text : "unknown reason";
}

// Without a folder the loader looks where it always does.
std::string plugin_path() {
  if (const char* const named = std::getenv("ASTERIAS_CUDA_PLUGIN"); named && *named) return named;
  std::error_code ignored;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const auto& path : {folder / kPluginName, folder.parent_path() / "lib" / kPluginName})
    if (std::filesystem::exists(path, ignored)) return path;
  return kPluginName;
}

}  // namespace

bool CudaPlugin::has_driver() {
  static const bool kHasDriver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr;
  return kHasDriver;
}

const CudaPlugin& CudaPlugin::open() {
  if (!has_driver())
    throw CudaError(CudaError::Cause::kNoDriver,
                    "no NVIDIA driver answers on this machine (libcuda.so.1 cannot be opened); install one, give the "
                    "container its GPU, or use device \"cpu\" or \"simulated\"");
  static const CudaPlugin kPlugin(plugin_path());
  return kPlugin;
}

Plugin::Plugin(const std::string& path, Scope scope)
    : path_(path), library_(dlopen(path.c_str(), RTLD_NOW | (scope == Scope::kGlobal ? RTLD_GLOBAL : RTLD_LOCAL))) {
  if (!library_) refuse(path_, loader_error());
  const auto interface = reinterpret_cast<const char* (*)()>(symbol("asterias_cuda_interface"));
  if (const std::string_view theirs = interface(); theirs != ASTERIAS_PLUGIN_INTERFACE)
    refuse(path_, "it is of another build (" + std::string(theirs) + ", this is " ASTERIAS_PLUGIN_INTERFACE ")");
}

CudaPlugin::CudaPlugin(const std::string& path)
    : plugin_(path), calls_(reinterpret_cast<CudaCalls* (*)()>(symbol("asterias_cuda_calls"))()) {}

void* Plugin::symbol(const char* name) const {
  void* const found = dlsym(library_, name);
  if (!found) refuse(path_, "it has no " + std::string(name));
  return found;
}

}  // namespace asterias::device
