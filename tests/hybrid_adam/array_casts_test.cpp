// 16-bit numbers are read and rounded as Eigen does, on every target.
#include "hybrid_adam/array_casts.hpp"

#include <catch2/catch.hpp>

#include "base/thread_pool.hpp"
#include "coded_cases.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

constexpr NumberType kHalves[] = {NumberType::kBfloat16, NumberType::kFloat16};

// Every 16-bit value.
StoredNumbers all_halves(NumberType type) {
  StoredNumbers halves(type, 65536);
  auto* const bits = static_cast<std::uint16_t*>(halves.data());
  for (std::uint32_t i = 0; i < 65536; ++i) bits[i] = static_cast<std::uint16_t>(i);
  return halves;
}

// Floats at and around everything that rounding could trip over: all exponents and upper fractions, and below them
// zeros, ones, ties and their neighbours, and random bits.
std::vector<float> rounding_cases() {
  std::vector<float> values;
  std::mt19937 random(31);
  for (std::uint32_t upper = 0; upper < std::uint32_t{1} << 19; ++upper) {
    for (std::uint32_t lower :
         {0x0u, 0x1u, 0xfffu, 0x1000u, 0x1001u, 0x1fffu, static_cast<std::uint32_t>(random()) & 0x1fffu}) {
      values.push_back(std::bit_cast<float>(upper << 13 | lower));
    }
  }
  return values;
}

std::vector<float> decoded_on(SimdTarget target, NumberType type) {
  std::vector<float> values(65536, -0.0f);  // -0 + x is x, -0 included
  accumulate_on(target, values.data(), all_halves(type).view(), values.size());
  return values;
}

}  // namespace

CATCH_TEST_CASE("every 16-bit number is read as Eigen reads it") {
  for (NumberType type : kHalves) {
    for (SimdTarget target : available_targets()) {
      const std::vector<float> values = decoded_on(target, type);
      std::size_t wrong = 0;
      for (std::uint32_t i = 0; i < 65536; ++i) {
        wrong += same_bits(values[i], eigen_decode(type, static_cast<std::uint16_t>(i))) ? 0 : 1;
      }
      CATCH_INFO(target_name(target));
      CATCH_CHECK(wrong == 0);
    }
  }
}

CATCH_TEST_CASE("floats are rounded to 16 bits as Eigen rounds them, and NaNs to one NaN") {
  const std::vector<float> values = rounding_cases();
  for (NumberType type : kHalves) {
    StoredNumbers want(type, values, values.size());
    for (SimdTarget target : available_targets()) {
      StoredNumbers got(type, values.size());
      cast_on(target, values.data(), got.output(), values.size());
      CATCH_INFO(target_name(target));
      CATCH_CHECK(got == want);
    }
  }
}

CATCH_TEST_CASE("every 16-bit number survives being read and rounded") {
  for (NumberType type : kHalves) {
    const std::vector<float> values = decoded_on(SimdTarget::kPortable, type);
    StoredNumbers back(type, values.size());
    cast(values.data(), back.output(), values.size());
    std::size_t wrong = 0;
    for (std::uint32_t i = 0; i < 65536; ++i) wrong += std::isnan(values[i]) || back.bits16(i) == i ? 0 : 1;
    CATCH_CHECK(wrong == 0);
  }
}

CATCH_TEST_CASE("sums of gradients have the same bits at any length, alignment and number of threads") {
  const Arrays input = random_arrays(4099, 32);
  for (NumberType type : {NumberType::kFloat32, NumberType::kBfloat16, NumberType::kFloat16}) {
    for (SimdTarget target : available_targets()) {
      for (std::size_t count : {0, 1, 7, 8, 15, 16, 17, 31, 33, 255, 4099}) {
        for (std::size_t offset = 0; offset < 17; offset += 3) {
          const StoredNumbers grad(type, input.grad, count, offset);
          StoredNumbers sum(NumberType::kFloat32, input.param, count, offset * 5 % 17);
          accumulate_on(target, static_cast<float*>(sum.data()), grad.view(), count);
          std::size_t wrong = sum.has_guards() ? 0 : 1;
          for (std::size_t i = 0; i < count; ++i) wrong += same_bits(sum[i], input.param[i] + grad[i]) ? 0 : 1;
          CATCH_INFO(target_name(target) << ", count " << count << ", offset " << offset);
          CATCH_CHECK(wrong == 0);
        }
      }
    }
  }
}

CATCH_TEST_CASE("casts on a pool give the same bits") {
  const Arrays input = random_arrays(200003, 33);
  ThreadPool pool(3);
  for (NumberType type : kHalves) {
    const StoredNumbers want(type, input.param, input.size());
    StoredNumbers got(type, input.size());
    cast(pool, input.param.data(), got.output(), input.size());
    CATCH_CHECK(got == want);
    std::vector<float> sum = input.grad, want_sum = input.grad;
    accumulate(pool, sum.data(), got.view(), sum.size());
    accumulate_on(SimdTarget::kPortable, want_sum.data(), got.view(), sum.size());
    CATCH_CHECK(count_differences(sum, want_sum) == 0);
  }
}

}  // namespace asterias::hybrid_adam::testing
