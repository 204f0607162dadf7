// The CUDA kernels on a card, bit for bit with the CPU's kernels in every format: test_hybrid_adam "[gpu]".
#include <cstdlib>
#include <filesystem>
#include <string>

#include <catch2/catch.hpp>

#include "device/cuda_accelerator.hpp"
#include "device/cuda_plugin.hpp"
#include "hybrid_adam/cuda_kernels.hpp"
#include "kernel_suite.hpp"
#include "round_trip.hpp"

namespace asterias::hybrid_adam::testing {

CATCH_TEST_CASE("the CUDA kernels give the bits of the CPU's in every format", "[gpu]") {
  if (!device::CudaPlugin::has_driver()) {
    CATCH_WARN("no NVIDIA driver answers here: NOT RUN, the loops of host_grid.hpp stand in");
    return;
  }
  const device::CudaPlugin& plugin = device::CudaPlugin::open();
  device::CudaOptions options;
  options.limit_bytes = 2 * kGiB;
  const auto accelerator = device::open_cuda_accelerator(plugin.calls(), options);
  RoundTrip calls(cuda_kernels(plugin), *accelerator);
  check_kernels(calls);
  CATCH_WARN("compared on " << accelerator->name());
}

}  // namespace asterias::hybrid_adam::testing
