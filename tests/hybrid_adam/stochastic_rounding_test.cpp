// bf16 moments are rounded without bias, by noise that depends on the seed, the step, the parameter and the element
// alone.
#include <catch2/catch.hpp>

#include "coded_cases.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

constexpr std::size_t kCount = std::size_t{1} << 18;

// Rounds the same value for kCount elements; element i is 1 where it was rounded up.
std::vector<int> rounded_up(Moment moment, float value, RoundingKey key, std::uint64_t first_element = 0) {
  const std::vector<float> values(kCount, value);
  StoredMoments stored(StateCodec::kBfloat16, kCount);
  encode_moments(moment, values.data(), stored.view(), kCount, first_element, key);
  std::vector<int> up;
  for (float x : stored.decoded(moment)) up.push_back(std::fabs(x) > std::fabs(value) ? 1 : 0);
  return up;
}

double mean(const std::vector<int>& values) {
  double sum = 0;
  for (int x : values) sum += x;
  return sum / static_cast<double>(values.size());
}

// How far a share of kCount draws is from its expectation, in standard deviations.
double deviations(double share, double expected) {
  return std::fabs(share - expected) / std::sqrt(expected * (1 - expected) / static_cast<double>(kCount));
}

// Share of elements on which two roundings agree.
double agreement(const std::vector<int>& a, const std::vector<int>& b) {
  std::vector<int> same;
  for (std::size_t i = 0; i < a.size(); ++i) same.push_back(a[i] == b[i] ? 1 : 0);
  return mean(same);
}

// A float whose low half is `part` of 65536: between two bf16.
float between(std::uint32_t part) { return std::bit_cast<float>(0x3fc00000u + part); }

constexpr Moment kMoments[] = {Moment::kExpAvg, Moment::kExpAvgSq};
constexpr std::uint32_t kHalfWay = 32768;

}  // namespace

CATCH_TEST_CASE("a moment is rounded up as often as it is near the upper neighbour") {
  for (Moment moment : kMoments) {
    for (std::uint32_t part : {64u, 1000u, 16384u, 32768u, 49152u, 60000u, 65500u}) {
      for (std::uint64_t step = 1; step <= 4; ++step) {
        const double share = mean(rounded_up(moment, between(part), make_rounding_key(1, step, 0)));
        CATCH_INFO("part " << part << ", step " << step);
        CATCH_CHECK(deviations(share, part / 65536.0) < 4.5);
      }
    }
    CATCH_CHECK(mean(rounded_up(moment, between(0), make_rounding_key(1, 1, 0))) == 0);  // a bf16 stays
    CATCH_CHECK(mean(rounded_up(moment, -between(0), make_rounding_key(1, 1, 0))) == 0);
  }
}

CATCH_TEST_CASE("the mean of roundings is the value, and so is that of one element over steps") {
  for (float value : {0.3f, -1.7e-5f, 3.3e20f, -FLT_MIN * 1.3f}) {
    std::vector<float> values(300, value);
    std::vector<double> sums(values.size());
    StoredMoments stored(StateCodec::kBfloat16, values.size());
    constexpr int kSteps = 4096;
    for (std::uint64_t step = 1; step <= kSteps; ++step) {
      encode_moments(Moment::kExpAvg, values.data(), stored.view(), values.size(), 0, make_rounding_key(2, step, 9));
      const std::vector<float> back = stored.decoded(Moment::kExpAvg);
      for (std::size_t i = 0; i < back.size(); ++i) sums[i] += back[i];
    }
    // One rounding is off by at most 2^-7 of the value, its standard deviation is half of that at most.
    const double allowed = 5 * 0.5 * std::ldexp(1.0, -7) / std::sqrt(kSteps);
    for (double sum : sums) CATCH_CHECK(std::fabs(sum / kSteps / value - 1.0) < allowed);
  }
}

CATCH_TEST_CASE("seeds, steps, parameters, elements and the two moments draw apart") {
  const float value = between(kHalfWay);
  const std::vector<int> base = rounded_up(Moment::kExpAvg, value, make_rounding_key(1, 1, 1));
  std::vector<std::vector<int>> others{rounded_up(Moment::kExpAvgSq, value, make_rounding_key(1, 1, 1)),
                                       rounded_up(Moment::kExpAvg, value, make_rounding_key(1, 1, 1), 1),
                                       rounded_up(Moment::kExpAvg, value, make_rounding_key(1, 1, 1), kCount),
                                       rounded_up(Moment::kExpAvg, value, make_rounding_key(1, 1, 1), 1ull << 32)};
  for (std::uint64_t other : {0ull, 2ull, 3ull, 1ull << 40}) {
    others.push_back(rounded_up(Moment::kExpAvg, value, make_rounding_key(other, 1, 1)));
    others.push_back(rounded_up(Moment::kExpAvg, value, make_rounding_key(1, other, 1)));
    others.push_back(rounded_up(Moment::kExpAvg, value, make_rounding_key(1, 1, other)));
  }
  for (const std::vector<int>& other : others) CATCH_CHECK(deviations(agreement(base, other), 0.5) < 4.5);
  CATCH_CHECK(rounded_up(Moment::kExpAvg, value, make_rounding_key(1, 1, 1)) == base);
}

CATCH_TEST_CASE("elements at any distance of a power of two draw apart") {
  const std::vector<int> draws = rounded_up(Moment::kExpAvg, between(kHalfWay), make_rounding_key(3, 1, 1));
  for (std::size_t lag = 1; lag < kCount / 2; lag *= 2) {
    std::vector<int> same;
    for (std::size_t i = 0; i < kCount; ++i) same.push_back(draws[i] == draws[(i + lag) % kCount] ? 1 : 0);
    CATCH_INFO("lag " << lag);
    CATCH_CHECK(deviations(mean(same), 0.5) < 4.5);
  }
}

CATCH_TEST_CASE("noise changes neither with the target nor with the cut, across the 2^32nd element as well") {
  const Arrays input = random_arrays(3000, 61);
  const Variant variant = all_variants().front();
  for (std::uint64_t first : {std::uint64_t{0}, std::uint64_t{77}, (std::uint64_t{1} << 32) - 1000}) {
    const Formats formats{NumberType::kFloat32, NumberType::kFloat32, StateCodec::kBfloat16};
    CodedArrays want(formats, input, input.size(), 0, first);
    for (std::size_t i = 0; i < input.size(); ++i) {
      update_on(SimdTarget::kPortable, variant.algorithm, variant.constants(), want.view().part(i, 1));
    }
    for (SimdTarget target : available_targets()) {
      CodedArrays got(formats, input, input.size(), 0, first);
      update_on(target, variant.algorithm, variant.constants(), got.view());
      CATCH_INFO(target_name(target) << ", first element " << first);
      CATCH_CHECK(got.count_differences(want) == 0);
    }
  }
}

CATCH_TEST_CASE("bf16 moments keep infinities and bf16 numbers, and NaNs become one NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> values{inf,
                            -inf,
                            0.0f,
                            FLT_MIN,
                            -1.5f,
                            std::bit_cast<float>(0x7fffffff),
                            std::bit_cast<float>(0xffffffff),
                            std::bit_cast<float>(0x7f800001)};
  for (SimdTarget target : available_targets()) {
    StoredMoments stored(StateCodec::kBfloat16, values.size());
    encode_moments_on(target, Moment::kExpAvg, values.data(), stored.view(), values.size(), 0, kTestKey);
    const std::vector<float> back = stored.decoded(Moment::kExpAvg);
    for (std::size_t i = 0; i < 5; ++i) CATCH_CHECK(same_bits(back[i], values[i]));
    for (std::size_t i = 5; i < 8; ++i) CATCH_CHECK(std::bit_cast<std::uint32_t>(back[i]) == 0x7fc00000);
  }
}

}  // namespace asterias::hybrid_adam::testing
