// Finds and opens libasterias_cuda.so, which holds everything that is compiled with CUDA: the calls of its runtime
// (cuda_calls.hpp) and the kernels (hybrid_adam/kernel_calls.hpp).
//
// One program serves machines with and without a GPU: nothing of CUDA is linked, and the plugin is opened only where a
// driver answers. It is looked for in this order: what ASTERIAS_CUDA_PLUGIN names, beside the program, in ../lib of the
// program's folder, then where the loader looks (RUNPATH, LD_LIBRARY_PATH, the system's folders).
//
// Invariants
//   * A plugin of another build, that is of other interfaces, is refused: both sides state a text made of them.
//   * What was opened stays open until the process ends.
//
// Threading: thread-safe.
#pragma once

#include <string>

#include "device/cuda_calls.hpp"

namespace asterias::device {

// A shared object of this build.
class Plugin {
 public:
  // Whose symbols others may find that are opened later: torch's libraries look for one another's.
  enum class Scope { kLocal, kGlobal };

  // Throws CudaError (kNoPlugin) where it cannot be opened or is of another build.
  explicit Plugin(const std::string& path, Scope scope = Scope::kLocal);

  const std::string& path() const { return path_; }
  // Finds what the plugin exports as `name`; throws CudaError (kNoPlugin).
  void* symbol(const char* name) const;

 private:
  std::string path_;
  void* library_ = nullptr;
};

class CudaPlugin {
 public:
  // Says whether libcuda.so.1, the driver's part for programs, can be opened. Asks once per process.
  static bool has_driver();

  // Opens the plugin, once per process. Throws CudaError: kNoDriver where no driver answers, kNoPlugin where the plugin
  // is missing or unfit, each time with the same text.
  static const CudaPlugin& open();

  // Opens the plugin at `path` whether or not a driver answers. Throws CudaError (kNoPlugin).
  explicit CudaPlugin(const std::string& path);

  CudaCalls& calls() const { return *calls_; }
  const std::string& path() const { return plugin_.path(); }
  void* symbol(const char* name) const { return plugin_.symbol(name); }

 private:
  Plugin plugin_;
  CudaCalls* calls_ = nullptr;
};

}  // namespace asterias::device
