// 8-bit moments: the numbers are bitsandbytes', and the nearest is found.
#include "hybrid_adam/dynamic_code.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

#include "coded_cases.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

constexpr Moment kMoments[] = {Moment::kExpAvg, Moment::kExpAvgSq};

// create_dynamic_map(signed) of bitsandbytes/functional.py in double, sorted: index i of the result is its code i.
std::vector<double> bitsandbytes_map(bool is_signed) {
  std::vector<double> map{0.0, 1.0};
  for (int i = 0; i < 7; ++i) {
    const int parts = 1 << (is_signed ? i : i + 1);
    for (int k = 0; k < parts; ++k) {
      const double number = std::pow(10.0, i - 6) * (0.1 + 0.9 * (k + 0.5) / parts);
      map.push_back(number);
      if (is_signed) map.push_back(-number);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

// What each byte stands for.
std::vector<float> decoded_bytes(SimdTarget target, Moment moment, float absmax = 1.0f) {
  StoredMoments block(StateCodec::kBlock8, 256);
  for (int byte = 0; byte < 256; ++byte) block.bytes()[byte] = static_cast<unsigned char>(byte);
  *block.absmax() = absmax;
  std::vector<float> values(256);
  decode_moments_on(target, moment, block.view(), values.data(), 256);
  return values;
}

// Encodes each of `values` in [-1, 1] in a block of absmax 1 and decodes it.
std::vector<float> nearest_on(SimdTarget target, Moment moment, const std::vector<float>& values) {
  std::vector<float> nearest;
  for (std::size_t begin = 0; begin < values.size(); begin += 255) {
    std::vector<float> block(256, 0.0f);
    const std::size_t count = std::min<std::size_t>(255, values.size() - begin);
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(begin), count, block.begin());
    block[255] = 1.0f;
    StoredMoments stored(StateCodec::kBlock8, 256);
    encode_moments_on(target, moment, block.data(), stored.view(), 256, 0, {});
    const std::vector<float> back = stored.decoded(moment);
    CATCH_REQUIRE(back[255] == 1.0f);
    nearest.insert(nearest.end(), back.begin(), back.begin() + static_cast<std::ptrdiff_t>(count));
  }
  return nearest;
}

// Searches all codes; a tie gives the larger magnitude, and no exp_avg_sq above 0 becomes 0.
float brute_force_nearest(Moment moment, const std::vector<float>& sorted, float x) {
  const auto distance = [x](float code) { return std::fabs(static_cast<double>(x) - static_cast<double>(code)); };
  const auto first = sorted.begin() + (moment == Moment::kExpAvgSq && x > 0.0f ? 1 : 0);
  return *std::min_element(first, sorted.end(), [&](float a, float b) {
    return distance(a) != distance(b) ? distance(a) < distance(b) : std::fabs(a) > std::fabs(b);
  });
}

std::vector<float> sorted_codes(Moment moment) {
  std::vector<float> codes = decoded_bytes(SimdTarget::kPortable, moment);
  std::sort(codes.begin(), codes.end());
  return codes;
}

}  // namespace

CATCH_TEST_CASE("each byte stands for bitsandbytes' number, within a thousandth of the distance to the next") {
  for (SimdTarget target : available_targets()) {
    const std::vector<double> signed_map = bitsandbytes_map(true), unsigned_map = bitsandbytes_map(false);
    const std::vector<float> exp_avg = decoded_bytes(target, Moment::kExpAvg);
    const std::vector<float> exp_avg_sq = decoded_bytes(target, Moment::kExpAvgSq);
    CATCH_REQUIRE(signed_map.size() == 256);
    CATCH_REQUIRE(unsigned_map.size() == 256);
    for (std::size_t byte = 0; byte < 256; ++byte) {
      CATCH_INFO(target_name(target) << ", byte " << byte);
      const double want = signed_map[(byte + 127) % 256], want_sq = unsigned_map[byte];
      CATCH_CHECK(std::fabs(exp_avg[byte] - want) <= 6e-6 * std::fabs(want));
      CATCH_CHECK(std::fabs(exp_avg_sq[byte] - want_sq) <= 6e-6 * want_sq);
    }
    CATCH_CHECK(same_bits(exp_avg[0], 0.0f));
    CATCH_CHECK(same_bits(exp_avg_sq[0], 0.0f));
    CATCH_CHECK(exp_avg[0x80] == 1.0f);
    CATCH_CHECK(exp_avg_sq[0xff] == 1.0f);
  }
}

CATCH_TEST_CASE("every target decodes every byte to the same bits under any absmax") {
  for (Moment moment : kMoments) {
    for (float absmax : {1.0f, 0.7f, 3e-20f, 1e30f, kTinyAbsmax, FLT_MAX, 0.0f}) {
      const std::vector<float> want = decoded_bytes(SimdTarget::kPortable, moment, absmax);
      for (SimdTarget target : available_targets()) {
        CATCH_INFO(target_name(target) << ", absmax " << absmax);
        CATCH_CHECK(count_differences(decoded_bytes(target, moment, absmax), want) == 0);
      }
      for (float value : want) CATCH_CHECK((value == 0.0f || std::fabs(value) >= FLT_MIN));
    }
  }
}

// Between two neighbouring codes everything below the middle goes down and everything from it on goes up (away from
// zero); with the formula's monotony that is every float.
CATCH_TEST_CASE("the code is the nearest one for every float, ties away from zero") {
  for (Moment moment : kMoments) {
    const std::vector<float> codes = sorted_codes(moment);
    std::vector<float> inputs, want;
    for (std::size_t i = moment == Moment::kExpAvgSq ? 1 : 0; i + 1 < codes.size(); ++i) {
      const double middle = 0.5 * (static_cast<double>(codes[i]) + static_cast<double>(codes[i + 1]));
      const bool negative = codes[i + 1] <= 0.0f;
      float at = static_cast<float>(middle);  // the float at the middle, or just beyond it seen from zero
      if (std::fabs(at) < std::fabs(middle)) at = std::nextafter(at, negative ? -2.0f : 2.0f);
      const float before = std::nextafter(at, 0.0f);
      for (float x : {at, before, std::nextafter(at, negative ? -2.0f : 2.0f), std::nextafter(before, 0.0f)}) {
        inputs.push_back(x);
        const bool beyond = std::fabs(x) >= std::fabs(middle);
        want.push_back(codes[beyond != negative ? i + 1 : i]);
      }
    }
    for (SimdTarget target : available_targets()) {
      CATCH_INFO(target_name(target) << (moment == Moment::kExpAvg ? ", signed" : ", unsigned"));
      CATCH_CHECK(count_differences(nearest_on(target, moment, inputs), want) == 0);
      CATCH_CHECK(count_differences(nearest_on(target, moment, codes), codes) == 0);
    }
  }
}

CATCH_TEST_CASE("an exp_avg_sq above 0 stays above 0, an exp_avg of no weight becomes 0") {
  const std::vector<float> tiny{std::numeric_limits<float>::denorm_min(), FLT_MIN, 1e-30f, 1e-8f, 1.6e-7f};
  const float smallest = sorted_codes(Moment::kExpAvgSq)[1];
  for (SimdTarget target : available_targets()) {
    CATCH_INFO(target_name(target));
    CATCH_CHECK(nearest_on(target, Moment::kExpAvgSq, tiny) == std::vector<float>(tiny.size(), smallest));
    CATCH_CHECK(nearest_on(target, Moment::kExpAvgSq, {0.0f}) == std::vector<float>{0.0f});
    CATCH_CHECK(nearest_on(target, Moment::kExpAvg, tiny) == std::vector<float>(tiny.size(), 0.0f));
  }
}

CATCH_TEST_CASE("a search through all codes finds no nearer one") {
  LogUniform draw(41);
  for (Moment moment : kMoments) {
    std::vector<float> inputs{0.0f, 1.0f, FLT_MIN, 1e-30f, 1.0f - FLT_EPSILON / 2};
    if (moment == Moment::kExpAvg) inputs.insert(inputs.end(), {-1.0f, -FLT_MIN, -0.997f});
    for (int i = 0; i < 30000; ++i) inputs.push_back(draw.magnitude(1e-8, 1.0));
    if (moment == Moment::kExpAvg) {
      for (int i = 0; i < 30000; ++i) inputs.push_back(draw.either_sign(1e-8, 1.0));
    }
    const std::vector<float> codes = sorted_codes(moment);
    std::vector<float> want;
    for (float x : inputs) want.push_back(brute_force_nearest(moment, codes, x));
    for (SimdTarget target : available_targets()) {
      CATCH_INFO(target_name(target));
      CATCH_CHECK(count_differences(nearest_on(target, moment, inputs), want) == 0);
    }
  }
}

CATCH_TEST_CASE("a block's absmax is its largest magnitude and blocks do not see each other") {
  const Arrays input = random_arrays(256 * 7 + 100, 42);
  for (SimdTarget target : available_targets()) {
    StoredMoments stored(StateCodec::kBlock8, input.size());
    encode_moments_on(target, Moment::kExpAvg, input.exp_avg.data(), stored.view(), input.size(), 0, {});
    for (std::size_t block = 0; block < 8; ++block) {
      float want = 0.0f;
      for (std::size_t i = block * 256; i < std::min(input.size(), block * 256 + 256); ++i) {
        want = std::max(want, std::fabs(input.exp_avg[i]));
      }
      CATCH_CHECK(stored.absmax()[block] == want);
    }
    CATCH_CHECK(stored.has_guards());
  }
}

CATCH_TEST_CASE("a block with an infinity or a NaN decodes to NaN as a whole, a tiny one to zeros") {
  for (Moment moment : kMoments) {
    for (SimdTarget target : available_targets()) {
      for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        std::vector<float> values(768, 0.5f);
        values[300] = bad;
        StoredMoments stored(StateCodec::kBlock8, values.size());
        encode_moments_on(target, moment, values.data(), stored.view(), values.size(), 0, {});
        const std::vector<float> back = stored.decoded(moment);
        for (std::size_t i = 0; i < back.size(); ++i) CATCH_CHECK(std::isnan(back[i]) == (i / 256 == 1));
        CATCH_CHECK(std::bit_cast<std::uint32_t>(stored.absmax()[1]) == 0x7fc00000);
      }
      std::vector<float> tiny(256, std::nextafter(kTinyAbsmax, 0.0f));
      StoredMoments stored(StateCodec::kBlock8, tiny.size());
      encode_moments_on(target, moment, tiny.data(), stored.view(), tiny.size(), 0, {});
      CATCH_CHECK(count_differences(stored.decoded(moment), std::vector<float>(256, 0.0f)) == 0);
      CATCH_CHECK(same_bits(stored.absmax()[0], 0.0f));
    }
  }
}

CATCH_TEST_CASE("zero-filled memory decodes to zeros in every codec") {
  for (StateCodec codec : {StateCodec::kFloat32, StateCodec::kBfloat16, StateCodec::kBlock8}) {
    for (Moment moment : kMoments) {
      for (SimdTarget target : available_targets()) {
        StoredMoments blank(codec, 300);
        std::vector<float> values(300, 1.0f);
        decode_moments_on(target, moment, blank.view(), values.data(), 300);
        CATCH_CHECK(count_differences(values, std::vector<float>(300, 0.0f)) == 0);
      }
    }
  }
}

CATCH_TEST_CASE("tensors at multiples of 128 elements share no absmax in a list") {
  constexpr std::size_t kElements = 4096;
  std::vector<float> list((moment_list_bytes(StateCodec::kBlock8, kElements) + 3) / 4);
  CATCH_CHECK(moment_list_bytes(StateCodec::kBlock8, kElements) == kElements + kElements / 128 * 4);
  const MomentArray first = moment_array(StateCodec::kBlock8, list.data(), kElements, 0);
  const MomentArray second = moment_array(StateCodec::kBlock8, list.data(), kElements, 384);
  CATCH_CHECK(second.absmax - first.absmax == 3);  // elements 0 to 383 are two blocks at most
  CATCH_CHECK(static_cast<char*>(second.data) - static_cast<char*>(first.data) == 384);
  const MomentArray last = moment_array(StateCodec::kBlock8, list.data(), kElements, kElements - 128);
  CATCH_CHECK(reinterpret_cast<char*>(last.absmax + 1) ==
              reinterpret_cast<char*>(list.data()) + moment_list_bytes(StateCodec::kBlock8, kElements));
}

}  // namespace asterias::hybrid_adam::testing
