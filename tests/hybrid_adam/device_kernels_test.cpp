// What the CUDA kernels compute, computed by loops (host_grid.hpp).
#include "hybrid_adam/device_kernels.hpp"

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "device/simulated_accelerator.hpp"
#include "host_grid.hpp"
#include "kernel_suite.hpp"
#include "round_trip.hpp"

namespace asterias::hybrid_adam::testing {

CATCH_TEST_CASE("the kernels' lanes update random values to the bits of the CPU's kernel") {
  HostGrid grid;
  check_random_updates(grid);
}

CATCH_TEST_CASE("the kernels' lanes update special values to the bits of the CPU's kernel") {
  HostGrid grid;
  check_special_updates(grid);
}

CATCH_TEST_CASE("the kernels' lanes draw the noise of elements around a multiple of 2^32") {
  HostGrid grid;
  check_noise_of_spans(grid);
}

CATCH_TEST_CASE("the kernels' output may take the gradient's place") {
  HostGrid grid;
  check_output_in_place(grid);
}

CATCH_TEST_CASE("segments with rules of their own share launches of 64 and change no bit") {
  HostGrid grid;
  check_segments(grid);
  CATCH_CHECK(grid.num_launches == 2 * static_cast<int>(all_formats().size()));
}

CATCH_TEST_CASE("what cannot share a launch is refused before anything is launched") {
  const Arrays input = random_arrays(512, 76);
  const Variant variant = all_variants().front();
  CodedArrays floats({NumberType::kFloat32, NumberType::kFloat32, StateCodec::kFloat32}, input, 512);
  CodedArrays bytes({NumberType::kFloat32, NumberType::kFloat32, StateCodec::kBlock8}, input, 512);
  CodedArrays wrong({NumberType::kBfloat16, NumberType::kBfloat16, StateCodec::kFloat32}, input, 512);
  UpdateArrays of_two_types = wrong.view();
  of_two_types.param_out.type = NumberType::kFloat16;
  HostGrid grid;
  const DeviceKernels kernels(grid);
  const UpdateSegment two_codecs[] = {{variant.constants(), floats.view()}, {variant.constants(), bytes.view()}};
  const UpdateSegment two_types[] = {{variant.constants(), floats.view()}, {variant.constants(), of_two_types}};
  CATCH_CHECK_THROWS_AS(kernels.update(kAnyStream, variant.algorithm, two_codecs), StateError);
  CATCH_CHECK_THROWS_AS(kernels.update(kAnyStream, variant.algorithm, two_types), StateError);
  CATCH_CHECK(grid.num_launches == 0);
}

CATCH_TEST_CASE("the kernels' casts and codecs give the bits of the CPU's") {
  HostGrid grid;
  check_casts_and_codecs(grid);
}

CATCH_TEST_CASE("the kernels' sums of squares are norm.hpp's, array by array") {
  HostGrid grid;
  check_square_sums(grid);
}

CATCH_TEST_CASE("a launch that fails says which and what remains") {
  HostGrid grid;
  grid.error = 700;
  float x = 1.0f;
  const Bfloat16 gradient{0};
  CATCH_CHECK_THROWS_WITH(DeviceKernels(grid).accumulate(kAnyStream, &x, &gradient, 1),
                          "launching the sum of gradients failed: out of order; nothing saved is lost, resume from the "
                          "last checkpoint");
}

// As a GPU is tested (gpu_kernels_test.cpp), on what is there everywhere.
CATCH_TEST_CASE("arrays that are carried to an accelerator and back come back updated") {
  const auto accelerator = device::make_simulated_accelerator({32 * kMiB, 0, 0});
  HostGrid grid;
  RoundTrip calls(grid, *accelerator);
  check_kernels(calls);
}

}  // namespace asterias::hybrid_adam::testing
