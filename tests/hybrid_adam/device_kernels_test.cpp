// What the CUDA kernels compute, computed by loops (host_grid.hpp): the bits of the CPU's kernels in every format, for
// any cutting into segments and launches.
#include "hybrid_adam/device_kernels.hpp"

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "coded_cases.hpp"
#include "host_grid.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

constexpr device::StreamHandle kStream{};

// Special values in all combinations; exp_avg_sq is not negative.
Arrays special_combinations() {
  Arrays arrays = special_arrays();
  for (float& v : arrays.exp_avg_sq) v = std::fabs(v);
  return arrays;
}

void update_on_host_grid(const Variant& variant, CodedArrays& arrays) {
  HostGrid grid;
  const UpdateSegment segment{variant.constants(), arrays.view()};
  DeviceKernels(grid).update(kStream, variant.algorithm, {&segment, 1});
}

void check_update(const Arrays& input, std::size_t count, std::uint64_t first_element = 0) {
  for (const Formats& formats : all_formats()) {
    for (const Variant& variant : all_variants()) {
      CodedArrays want(formats, input, count, 0, first_element), got = want;
      update(variant.algorithm, variant.constants(), want.view());
      update_on_host_grid(variant, got);
      CATCH_INFO(to_string(formats) << ", " << variant.name << ", count " << count);
      CATCH_CHECK(got.count_differences(want) == 0);
      CATCH_CHECK(got.has_guards());
    }
  }
}

bool same_bits(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

}  // namespace

CATCH_TEST_CASE("the kernels' lanes update random values to the bits of the CPU's kernel") {
  const Arrays input = random_arrays(3077, 71);
  for (std::size_t count : {1, 31, 33, 255, 256, 257, 3077}) check_update(input, count);
}

CATCH_TEST_CASE("the kernels' lanes update special values to the bits of the CPU's kernel") {
  const Arrays input = special_combinations();
  check_update(input, input.size());
}

CATCH_TEST_CASE("the kernels' lanes draw the noise of elements around a multiple of 2^32") {
  const Arrays input = random_arrays(1024, 72);
  check_update(input, 1024, (std::uint64_t{1} << 32) - 512);
  check_update(input, 1024, (std::uint64_t{5} << 32) - 256);
}

CATCH_TEST_CASE("the kernels' output may take the gradient's place") {
  const Arrays input = random_arrays(1111, 73);
  const Variant variant = all_variants().front();
  for (const Formats& formats : all_formats()) {
    if (formats.grad == NumberType::kFloat32 || formats.grad != formats.out) continue;
    CodedArrays want(formats, input, input.size()), got = want;
    update(variant.algorithm, variant.constants(), want.view());
    HostGrid grid;
    UpdateSegment segment{variant.constants(), got.view()};
    segment.arrays.param_out = got.grad.output();
    DeviceKernels(grid).update(kStream, variant.algorithm, {&segment, 1});
    std::size_t wrong = got.grad.has_guards() ? 0 : 1;
    for (std::size_t i = 0; i < input.size(); ++i) wrong += got.grad.bits16(i) == want.out.bits16(i) ? 0 : 1;
    CATCH_INFO(to_string(formats));
    CATCH_CHECK(wrong == 0);
  }
}

CATCH_TEST_CASE("segments with rules of their own share launches of 64 and change no bit") {
  const Arrays input = random_arrays(60000, 74);
  std::vector<Variant> variants;  // AdamW with and without decay, at several steps
  for (std::uint64_t step : {1, 2, 500})
    for (double decay : {0.0, 0.1}) variants.push_back({"adamw", Algorithm::kAdamW, with(decay), step, 0.5});
  std::mt19937_64 random(75);
  for (const Formats& formats : all_formats()) {
    CodedArrays want(formats, input, input.size()), got = want;
    std::vector<UpdateSegment> segments;
    std::size_t begin = 0;
    for (std::size_t n = 0; n < 150; ++n) {  // 128 of them not empty: two launches
      // 8-bit arrays start at a block of their tensor: each segment is a tensor of its own here.
      const std::size_t count = n % 7 == 0 ? 0 : 1 + random() % 300;
      const Variant& variant = variants[n % variants.size()];
      UpdateArrays part = got.view().part(begin, count), twin = want.view().part(begin, count);
      part.first_element = twin.first_element = n * 256;
      update(variant.algorithm, variant.constants(), twin);
      segments.push_back({variant.constants(), part});
      begin += round_up(count, 256);
    }
    HostGrid grid;
    DeviceKernels(grid).update(kStream, Algorithm::kAdamW, segments);
    CATCH_INFO(to_string(formats));
    CATCH_CHECK(grid.num_launches == 2);
    CATCH_CHECK(got.count_differences(want) == 0);
    CATCH_CHECK(got.has_guards());
  }
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
  CATCH_CHECK_THROWS_AS(kernels.update(kStream, variant.algorithm, two_codecs), StateError);
  CATCH_CHECK_THROWS_AS(kernels.update(kStream, variant.algorithm, two_types), StateError);
  CATCH_CHECK(grid.num_launches == 0);
}

CATCH_TEST_CASE("the kernels' casts and codecs give the bits of the CPU's") {
  const Arrays input = special_combinations();
  const std::size_t count = input.size();
  HostGrid grid;
  const DeviceKernels kernels(grid);
  for (NumberType type : {NumberType::kBfloat16, NumberType::kFloat16}) {
    StoredNumbers want(type, count), got(type, count);
    cast(input.grad.data(), want.output(), count);
    kernels.cast(kStream, input.grad.data(), got.output(), count);
    CATCH_CHECK(got == want);
    std::vector<float> want_sum = input.param, got_sum = input.param;
    accumulate(want_sum.data(), want.view(), count);
    kernels.accumulate(kStream, got_sum.data(), want.view(), count);
    CATCH_CHECK(count_differences(got_sum, want_sum) == 0);
  }
  for (StateCodec codec : {StateCodec::kFloat32, StateCodec::kBfloat16, StateCodec::kBlock8}) {
    for (Moment moment : {Moment::kExpAvg, Moment::kExpAvgSq}) {
      const std::uint64_t first = (std::uint64_t{1} << 32) - 4096;
      const std::vector<float>& from = moment == Moment::kExpAvg ? input.exp_avg : input.exp_avg_sq;
      StoredMoments want(codec, count), got(codec, count);
      encode_moments(moment, from.data(), want.view(), count, first, kTestKey);
      kernels.encode_moments(kStream, moment, from.data(), got.view(), count, first, kTestKey);
      CATCH_INFO(codec_name(codec));
      CATCH_CHECK(got.count_differences(want) == 0);
      CATCH_CHECK(got.has_guards());
      std::vector<float> decoded(count);
      kernels.decode_moments(kStream, moment, want.view(), decoded.data(), count);
      CATCH_CHECK(count_differences(decoded, want.decoded(moment)) == 0);
    }
  }
}

CATCH_TEST_CASE("the kernels' sums of squares are norm.hpp's, array by array") {
  const Arrays input = random_arrays(70000, 77);
  HostGrid grid;
  const DeviceKernels kernels(grid);
  std::mt19937_64 random(78);
  for (NumberType type : {NumberType::kFloat32, NumberType::kBfloat16, NumberType::kFloat16}) {
    const StoredNumbers values(type, input.grad, input.size());
    std::vector<NumberArray> arrays{{values.view(), input.size()}};
    for (int n = 0; n < 150; ++n) {
      const std::size_t begin = random() % 30000;
      const std::size_t longest = std::size_t{1} << (random() % 15);
      arrays.push_back({values.view().from(begin), n % 9 == 0 ? 0 : static_cast<std::size_t>(random() % longest)});
    }
    std::vector<double> scratch(DeviceKernels::square_sum_scratch(arrays) + 1, -1.0), sums(arrays.size() + 1, -1.0);
    kernels.sums_of_squares(kStream, arrays, scratch.data(), sums.data());
    std::size_t wrong = 0;
    for (std::size_t n = 0; n < arrays.size(); ++n)
      wrong += same_bits(sums[n], sum_of_squares(arrays[n].values, arrays[n].count)) ? 0 : 1;
    CATCH_CHECK(wrong == 0);
    CATCH_CHECK(scratch.back() == -1.0);
    CATCH_CHECK(sums.back() == -1.0);
  }
}

CATCH_TEST_CASE("a launch that fails says which and what remains") {
  HostGrid grid;
  grid.error = 700;
  float x = 1.0f;
  const Bfloat16 gradient{0};
  CATCH_CHECK_THROWS_WITH(DeviceKernels(grid).accumulate(kStream, &x, &gradient, 1),
                          "launching the sum of gradients failed: out of order; nothing saved is lost, resume from the "
                          "last checkpoint");
}

}  // namespace asterias::hybrid_adam::testing
