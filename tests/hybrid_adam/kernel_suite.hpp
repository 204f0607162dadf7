// What the kernels of every accelerator compute: the bits of the CPU's kernels in every format, for any cutting into
// segments and launches. The arrays are the host's: `calls` takes them as they are, or carries them there and back.
#pragma once

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "coded_cases.hpp"
#include "hybrid_adam/device_kernels.hpp"
#include "hybrid_adam/norm.hpp"

namespace asterias::hybrid_adam::testing {

inline constexpr device::StreamHandle kAnyStream{};

// Special values in all combinations; exp_avg_sq is not negative.
inline Arrays special_combinations_of_magnitude() {
  Arrays arrays = special_arrays();
  for (float& v : arrays.exp_avg_sq) v = std::fabs(v);
  return arrays;
}

inline void check_update(KernelCalls& calls, const Arrays& input, std::size_t count, std::uint64_t first_element = 0) {
  for (const Formats& formats : all_formats()) {
    for (const Variant& variant : all_variants()) {
      CodedArrays want(formats, input, count, 0, first_element), got = want;
      update(variant.algorithm, variant.constants(), want.view());
      const UpdateSegment segment{variant.constants(), got.view()};
      DeviceKernels(calls).update(kAnyStream, variant.algorithm, {&segment, 1});
      CATCH_INFO(to_string(formats) << ", " << variant.name << ", count " << count);
      CATCH_CHECK(got.count_differences(want) == 0);
      CATCH_CHECK(got.has_guards());
    }
  }
}

inline bool same_double(double a, double b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}

inline void check_random_updates(KernelCalls& calls) {
  const Arrays input = random_arrays(3077, 71);
  for (std::size_t count : {1, 31, 33, 255, 256, 257, 3077}) check_update(calls, input, count);
}

inline void check_special_updates(KernelCalls& calls) {
  const Arrays input = special_combinations_of_magnitude();
  check_update(calls, input, input.size());
}

inline void check_noise_of_spans(KernelCalls& calls) {
  const Arrays input = random_arrays(1024, 72);
  check_update(calls, input, 1024, (std::uint64_t{1} << 32) - 512);
  check_update(calls, input, 1024, (std::uint64_t{5} << 32) - 256);
}

inline void check_output_in_place(KernelCalls& calls) {
  const Arrays input = random_arrays(1111, 73);
  const Variant variant = all_variants().front();
  for (const Formats& formats : all_formats()) {
    if (formats.grad == NumberType::kFloat32 || formats.grad != formats.out) continue;
    CodedArrays want(formats, input, input.size()), got = want;
    update(variant.algorithm, variant.constants(), want.view());
    UpdateSegment segment{variant.constants(), got.view()};
    segment.arrays.param_out = got.grad.output();
    DeviceKernels(calls).update(kAnyStream, variant.algorithm, {&segment, 1});
    std::size_t wrong = got.grad.has_guards() ? 0 : 1;
    for (std::size_t i = 0; i < input.size(); ++i) wrong += got.grad.bits16(i) == want.out.bits16(i) ? 0 : 1;
    CATCH_INFO(to_string(formats));
    CATCH_CHECK(wrong == 0);
  }
}

inline void check_segments(KernelCalls& calls) {
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
    DeviceKernels(calls).update(kAnyStream, Algorithm::kAdamW, segments);
    CATCH_INFO(to_string(formats));
    CATCH_CHECK(got.count_differences(want) == 0);
    CATCH_CHECK(got.has_guards());
  }
}

inline void check_casts_and_codecs(KernelCalls& calls) {
  const Arrays input = special_combinations_of_magnitude();
  const std::size_t count = input.size();
  const DeviceKernels kernels(calls);
  for (NumberType type : {NumberType::kBfloat16, NumberType::kFloat16}) {
    StoredNumbers want(type, count), got(type, count);
    cast(input.grad.data(), want.output(), count);
    kernels.cast(kAnyStream, input.grad.data(), got.output(), count);
    CATCH_CHECK(got == want);
    std::vector<float> want_sum = input.param, got_sum = input.param;
    accumulate(want_sum.data(), want.view(), count);
    kernels.accumulate(kAnyStream, got_sum.data(), want.view(), count);
    CATCH_CHECK(count_differences(got_sum, want_sum) == 0);
  }
  for (StateCodec codec : {StateCodec::kFloat32, StateCodec::kBfloat16, StateCodec::kBlock8}) {
    for (Moment moment : {Moment::kExpAvg, Moment::kExpAvgSq}) {
      const std::uint64_t first = (std::uint64_t{1} << 32) - 4096;
      const std::vector<float>& from = moment == Moment::kExpAvg ? input.exp_avg : input.exp_avg_sq;
      StoredMoments want(codec, count), got(codec, count);
      encode_moments(moment, from.data(), want.view(), count, first, kTestKey);
      kernels.encode_moments(kAnyStream, moment, from.data(), got.view(), count, first, kTestKey);
      CATCH_INFO(codec_name(codec));
      CATCH_CHECK(got.count_differences(want) == 0);
      CATCH_CHECK(got.has_guards());
      std::vector<float> decoded(count);
      kernels.decode_moments(kAnyStream, moment, want.view(), decoded.data(), count);
      CATCH_CHECK(count_differences(decoded, want.decoded(moment)) == 0);
    }
  }
}

inline void check_square_sums(KernelCalls& calls) {
  const Arrays input = random_arrays(70000, 77);
  const DeviceKernels kernels(calls);
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
    kernels.sums_of_squares(kAnyStream, arrays, scratch.data(), sums.data());
    std::size_t wrong = 0;
    for (std::size_t n = 0; n < arrays.size(); ++n)
      wrong += same_double(sums[n], sum_of_squares(arrays[n].values, arrays[n].count)) ? 0 : 1;
    CATCH_CHECK(wrong == 0);
    CATCH_CHECK(scratch.back() == -1.0);
    CATCH_CHECK(sums.back() == -1.0);
  }
}

inline void check_kernels(KernelCalls& calls) {
  check_random_updates(calls);
  check_special_updates(calls);
  check_noise_of_spans(calls);
  check_output_in_place(calls);
  check_segments(calls);
  check_casts_and_codecs(calls);
  check_square_sums(calls);
}

}  // namespace asterias::hybrid_adam::testing
