// The sum of squares has one value, however it is computed.
#include "hybrid_adam/norm.hpp"

#include <bit>
#include <cfenv>

#include <catch2/catch.hpp>

#include "base/thread_pool.hpp"
#include "coded_cases.hpp"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace asterias::hybrid_adam::testing {
namespace {

std::vector<float> random_values(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  LogUniform draw(seed);
  for (float& value : values) value = draw.either_sign(1e-12, 1e6);
  return values;
}

// The definition in norm.hpp, element by element.
double defined_sum(const float* values, std::size_t count) {
  double total = 0.0;
  for (std::size_t begin = 0; begin < count; begin += kNormBlockElements) {
    std::vector<double> lanes(kNormLanes, 0.0);
    for (std::size_t i = begin; i < std::min(count, begin + kNormBlockElements); ++i) {
      lanes[i % kNormLanes] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    }
    for (std::size_t half : {16, 8, 4, 2, 1}) {
      for (std::size_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
    }
    total += lanes[0];
  }
  return total;
}

bool same_bits(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

double sum_on(SimdTarget target, const float* values, std::size_t count) {
  SumOfSquares sum(target);
  sum.add(values, count);
  return sum.total();
}

}  // namespace

CATCH_TEST_CASE("every SIMD target sums any length at any alignment to the same bits") {
  const std::vector<float> values = random_values(3 * kNormBlockElements + 50, 21);
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n < 300; ++n) lengths.push_back(n);
  for (std::size_t n : {1023, 4095, 4096, 4097, 4099, 8192, 12300}) lengths.push_back(n);
  for (SimdTarget target : available_targets()) {
    for (std::size_t offset = 0; offset <= 16; ++offset) {
      std::size_t wrong = 0;
      for (std::size_t count : lengths) {
        const float* from = values.data() + offset;
        wrong += same_bits(sum_on(target, from, count), defined_sum(from, count)) ? 0 : 1;
      }
      CATCH_INFO(target_name(target) << ", offset " << offset);
      CATCH_CHECK(wrong == 0);
    }
  }
}

CATCH_TEST_CASE("a tensor fed in pieces sums to the same bits as whole") {
  const std::vector<float> values = random_values(40007, 22);
  const double want = defined_sum(values.data(), values.size());
  std::mt19937_64 random(23);
  ThreadPool pool(3);
  for (int round = 0; round < 200; ++round) {
    SumOfSquares sum(available_targets()[static_cast<std::size_t>(round) % available_targets().size()]);
    for (std::size_t begin = 0; begin < values.size();) {
      const std::size_t longest = std::size_t{1} << (random() % 15);
      const std::size_t count = std::min(values.size() - begin, static_cast<std::size_t>(random() % (longest + 1)));
      if (round % 2 == 0) sum.add(values.data() + begin, count);
      if (round % 2 == 1) sum.add(pool, values.data() + begin, count);
      begin += count;
    }
    CATCH_CHECK(same_bits(sum.total(), want));
  }
}

CATCH_TEST_CASE("any number of threads sums to the same bits") {
  const std::vector<float> values = random_values(2048 * kNormBlockElements + 3 * kNormBlockElements + 17, 24);
  const double want = defined_sum(values.data(), values.size());
  for (int threads = 1; threads <= 4; ++threads) {
    ThreadPool pool(threads);
    CATCH_CHECK(same_bits(sum_of_squares(pool, values.data(), values.size()), want));
  }
  CATCH_CHECK(same_bits(sum_of_squares(values.data(), values.size()), want));
}

CATCH_TEST_CASE("a non-finite element shows in the sum, the largest finite one does not overflow it") {
  for (SimdTarget target : available_targets()) {
    for (std::size_t count : {1, 31, 32, 33, 4096, 5000}) {
      for (std::size_t position : {std::size_t{0}, count / 2, count - 1}) {
        std::vector<float> values(count, 1.0f);
        values[position] = std::numeric_limits<float>::infinity();
        CATCH_CHECK(std::isinf(sum_on(target, values.data(), count)));
        values[position] = -std::numeric_limits<float>::quiet_NaN();
        CATCH_CHECK(std::isnan(sum_on(target, values.data(), count)));
      }
      const std::vector<float> largest(count, FLT_MAX);
      const double square = static_cast<double>(FLT_MAX) * FLT_MAX;
      CATCH_CHECK(sum_on(target, largest.data(), count) == Approx(square * static_cast<double>(count)));
    }
  }
}

CATCH_TEST_CASE("16-bit elements sum to the bits of the floats they stand for, fed in any way") {
  const std::vector<float> values = random_values(3 * kNormBlockElements + 777, 25);
  ThreadPool pool(2);
  for (NumberType type : {NumberType::kBfloat16, NumberType::kFloat16}) {
    for (std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{33}, std::size_t{5000}, values.size()}) {
      const StoredNumbers stored(type, values, count, 3);
      std::vector<float> decoded;
      for (std::size_t i = 0; i < count; ++i) decoded.push_back(std::isinf(stored[i]) ? 0.0f : stored[i]);
      StoredNumbers halves(type, decoded, count, 5);
      const double want = defined_sum(decoded.data(), count);
      for (SimdTarget target : available_targets()) {
        SumOfSquares whole(target), pieces(target), parallel(target);
        whole.add(halves.view(), count);
        for (std::size_t begin = 0; begin < count; begin += 999) {
          pieces.add(halves.view().from(begin), std::min<std::size_t>(999, count - begin));
        }
        parallel.add(pool, halves.view(), count);
        CATCH_INFO(target_name(target) << ", count " << count);
        CATCH_CHECK(same_bits(whole.total(), want));
        CATCH_CHECK(same_bits(pieces.total(), want));
        CATCH_CHECK(same_bits(parallel.total(), want));
        CATCH_CHECK(whole.is_finite());
      }
    }
  }
}

CATCH_TEST_CASE("an overflow anywhere in 16-bit elements is found, the largest finite ones are none") {
  for (NumberType type : {NumberType::kBfloat16, NumberType::kFloat16}) {
    const float largest = type == NumberType::kBfloat16 ? std::bit_cast<float>(0x7f7f0000) : 65504.0f;
    for (SimdTarget target : available_targets()) {
      for (std::size_t position : {0, 31, 32, 4095, 4096, 4999}) {
        std::vector<float> values(5000, largest);
        const auto is_finite = [&] {
          SumOfSquares sum(target);
          sum.add(StoredNumbers(type, values, values.size()).view(), values.size());
          return sum.is_finite();
        };
        CATCH_CHECK(is_finite());
        values[position] = -std::numeric_limits<float>::infinity();
        CATCH_CHECK_FALSE(is_finite());
        values[position] = std::numeric_limits<float>::quiet_NaN();
        CATCH_CHECK_FALSE(is_finite());
      }
    }
  }
}

CATCH_TEST_CASE("denormals count in the sum whatever the caller's mode") {
  const std::vector<float> values(5000, FLT_TRUE_MIN);
  const double want = 5000 * std::ldexp(1.0, -298);
  ThreadPool pool(2);
  std::fenv_t saved;
  for (SimdTarget target : available_targets()) {
    std::fegetenv(&saved);
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040u);
#endif
    const double serial = sum_on(target, values.data(), values.size());
    const double parallel = sum_of_squares(pool, values.data(), values.size());
    std::fesetenv(&saved);
    CATCH_CHECK(serial == want);
    CATCH_CHECK(parallel == want);
  }
}

CATCH_TEST_CASE("the sum of nothing is 0") {
  CATCH_CHECK(sum_of_squares(nullptr, 0) == 0.0);
  CATCH_CHECK(SumOfSquares().total() == 0.0);
}

}  // namespace asterias::hybrid_adam::testing
