// The plugin is found, opened and refused. Where no driver answers, what it says of that is looked at, too.
#include "device/cuda_plugin.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

#include "base/error.hpp"

namespace asterias::device {
namespace {

std::string in_bin(const char* file) { return std::string(std::getenv("ASTERIAS_BIN_DIR")) + "/" + file; }

CudaError::Cause cause_of(const std::string& path) {
  try {
    const CudaPlugin plugin(path);
  } catch (const CudaError& error) {
    CATCH_INFO(error.what());
    CATCH_CHECK(std::string(error.what()).find("ASTERIAS_CUDA_PLUGIN") != std::string::npos);
    return error.cause();
  }
  return CudaError::Cause::kFailed;
}

CATCH_TEST_CASE("a plugin that is missing, no plugin, or of another build is refused with what to do") {
  CATCH_CHECK(cause_of("/nowhere/libasterias_cuda.so") == CudaError::Cause::kNoPlugin);
  CATCH_CHECK(cause_of("libm.so.6") == CudaError::Cause::kNoPlugin);
  CATCH_CHECK(cause_of(in_bin("libasterias_foreign_plugin.so")) == CudaError::Cause::kNoPlugin);
  CATCH_CHECK_THROWS_WITH(CudaPlugin(in_bin("libasterias_foreign_plugin.so")),
                          Catch::Contains("it is of another build (0.0.0-foreign, this is "));
}

CATCH_TEST_CASE("without a driver the plugin is not even looked for") {
  if (CudaPlugin::has_driver()) return;
  CATCH_CHECK_THROWS_WITH(CudaPlugin::open(), Catch::Contains("no NVIDIA driver answers on this machine"));
}

CATCH_TEST_CASE("this build's plugin opens on any machine and says whether there is a driver") {
  const std::string path = in_bin("libasterias_cuda.so");
  if (!std::filesystem::exists(path)) {
    CATCH_WARN("this build has no CUDA plugin");
    return;
  }
  const CudaPlugin plugin(path);
  CATCH_CHECK(plugin.symbol("asterias_cuda_kernels") != nullptr);
  CATCH_CHECK_THROWS_AS(plugin.symbol("asterias_no_such_thing"), CudaError);
  int count = 0;
  const int error = plugin.calls().count_devices(count);
  CATCH_INFO(plugin.calls().error_text(error));
  const CudaFailure expected = CudaPlugin::has_driver() ? CudaFailure::kNone : CudaFailure::kNoDriver;
  CATCH_CHECK(plugin.calls().failure(error) == expected);
}

}  // namespace
}  // namespace asterias::device
