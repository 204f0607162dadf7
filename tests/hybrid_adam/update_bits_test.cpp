// The same element has the same bits wherever and however it is updated.
#include <cfenv>
#include <utility>

#include <catch2/catch.hpp>

#include "base/thread_pool.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "update_cases.hpp"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace asterias::hybrid_adam::testing {
namespace {

Arrays updated_on(SimdTarget target, const Variant& variant, Arrays arrays) {
  update_on(target, variant.algorithm, variant.constants(), arrays.view());
  return arrays;
}

// Holds an array at a chosen misalignment between guard words.
class GuardedArray {
 public:
  static constexpr float kGuard = 12345.678f;
  static constexpr std::size_t kGuards = 32;

  GuardedArray(const std::vector<float>& source, std::size_t count, std::size_t offset)
      : begin_(kGuards + offset), count_(count), memory_(begin_ + count + kGuards, kGuard) {
    std::copy_n(source.begin(), count, memory_.begin() + static_cast<std::ptrdiff_t>(begin_));
  }
  float* data() { return memory_.data() + begin_; }

  // Says whether the contents are the first elements of `want` and every guard word is as it was.
  bool matches(const std::vector<float>& want) const {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      const bool inside = i >= begin_ && i < begin_ + count_;
      if (!same_bits(memory_[i], inside ? want[i - begin_] : kGuard)) return false;
    }
    return true;
  }

 private:
  std::size_t begin_, count_;
  std::vector<float> memory_;
};

std::vector<std::size_t> odd_lengths() {
  std::vector<std::size_t> lengths;
  for (std::size_t n = 0; n < 300; ++n) lengths.push_back(n);
  lengths.push_back(1023);
  lengths.push_back(4099);
  return lengths;
}

// Restores the thread's floating-point mode.
class ModeRestored {
 public:
  ModeRestored() { std::fegetenv(&saved_); }
  ~ModeRestored() { std::fesetenv(&saved_); }

 private:
  std::fenv_t saved_;
};

}  // namespace

CATCH_TEST_CASE("every SIMD target updates special values to the same bits") {
  const Arrays input = special_arrays();
  for (const Variant& variant : all_variants()) {
    CATCH_INFO(variant.name);
    const Arrays want = updated_on(SimdTarget::kPortable, variant, input);
    for (SimdTarget target : available_targets()) {
      CATCH_INFO(target_name(target));
      CATCH_CHECK(count_differences(updated_on(target, variant, input), want) == 0);
    }
  }
}

CATCH_TEST_CASE("every SIMD target updates random values to the same bits") {
  const Arrays input = random_arrays(200003, 1);
  for (const Variant& variant : all_variants()) {
    CATCH_INFO(variant.name);
    const Arrays want = updated_on(SimdTarget::kPortable, variant, input);
    CATCH_CHECK(count_differences(want.param, input.param) > 150000);
    for (SimdTarget target : available_targets()) {
      CATCH_INFO(target_name(target));
      CATCH_CHECK(count_differences(updated_on(target, variant, input), want) == 0);
    }
  }
}

CATCH_TEST_CASE("length and alignment change no bit and nothing outside is written") {
  std::size_t compared = 0;
  const Arrays input = random_arrays(4099, 2);
  for (const Variant& variant : all_variants()) {
    const Arrays want = updated_on(SimdTarget::kPortable, variant, input);
    for (SimdTarget target : available_targets()) {
      for (std::size_t count : odd_lengths()) {
        for (std::size_t offset = 0; offset <= 16; ++offset) {
          GuardedArray param(input.param, count, offset), grad(input.grad, count, offset * 3 % 17);
          GuardedArray exp_avg(input.exp_avg, count, offset * 5 % 17), sq(input.exp_avg_sq, count, offset * 7 % 17);
          update_on(target, variant.algorithm, variant.constants(),
                    {param.data(), grad.data(), exp_avg.data(), sq.data(), count});
          const bool same = param.matches(want.param) && grad.matches(want.grad) && exp_avg.matches(want.exp_avg) &&
                            sq.matches(want.exp_avg_sq);
          ++compared;
          if (same) continue;
          CATCH_FAIL_CHECK(variant.name << " on " << target_name(target) << ", count " << count << ", offset "
                                        << offset);
        }
      }
    }
  }
  CATCH_CHECK(compared > 0);  // every difference has failed above
}

CATCH_TEST_CASE("update_parallel gives the same bits for any number of threads") {
  const Arrays input = random_arrays(5 * kUpdateBlockElements + 77, 3);
  for (const Variant& variant : all_variants()) {
    Arrays want = input;
    update(variant.algorithm, variant.constants(), want.view());
    for (int threads = 1; threads <= 4; ++threads) {
      ThreadPool pool(threads);
      Arrays got = input;
      update_parallel(pool, variant.algorithm, variant.constants(), got.view());
      CATCH_INFO(variant.name << ", " << threads << " threads");
      CATCH_CHECK(count_differences(got, want) == 0);
    }
  }
}

CATCH_TEST_CASE("arrays an algorithm does not use may be null") {
  ThreadPool pool(2);
  Arrays arrays = random_arrays(kUpdateBlockElements + 5, 4);
  const Arrays input = arrays;
  const UpdateArrays plain{arrays.param.data(), arrays.grad.data(), nullptr, nullptr, arrays.size()};
  update_parallel(pool, Algorithm::kSgd, make_update_constants(with(0.1), 1), plain);
  UpdateArrays momentum = plain;
  momentum.exp_avg = arrays.exp_avg.data();
  update_parallel(pool, Algorithm::kSgd, make_update_constants(with(0.1, 0.9), 2), momentum);
  CATCH_CHECK(count_differences(arrays.exp_avg_sq, input.exp_avg_sq) == 0);
  update(Algorithm::kAdamW, make_update_constants(with(0.1), 1), UpdateArrays{nullptr, nullptr, nullptr, nullptr, 0});
}

CATCH_TEST_CASE("the first SGD step does not read the momentum buffer") {
  Arrays arrays = random_arrays(1000, 5);
  arrays.exp_avg.assign(1000, std::numeric_limits<float>::quiet_NaN());
  update(Algorithm::kSgd, make_update_constants(with(0, 0.9, 0.5), 1), arrays.view());
  CATCH_CHECK(count_differences(arrays.exp_avg, arrays.grad) == 0);
}

CATCH_TEST_CASE("moments below FLT_MIN are stored as positive zero and FLT_MIN is kept") {
  HyperParameters hyper;
  hyper.beta1 = hyper.beta2 = 0.5;
  for (SimdTarget target : available_targets()) {
    CATCH_INFO(target_name(target));
    Arrays arrays(2);
    arrays.exp_avg = {-1.5f * FLT_MIN, -2.0f * FLT_MIN};  // halve to 0.75 and 1 FLT_MIN
    arrays.exp_avg_sq = {1.5f * FLT_MIN, 2.0f * FLT_MIN};
    update_on(target, Algorithm::kAdamW, make_update_constants(hyper, 1), arrays.view());
    CATCH_CHECK(same_bits(arrays.exp_avg[0], 0.0f));
    CATCH_CHECK(same_bits(arrays.exp_avg[1], -FLT_MIN));
    CATCH_CHECK(same_bits(arrays.exp_avg_sq[0], 0.0f));
    CATCH_CHECK(same_bits(arrays.exp_avg_sq[1], FLT_MIN));
  }
}

CATCH_TEST_CASE("without weight decay a parameter without gradient keeps its bits") {
  for (Algorithm algorithm : {Algorithm::kAdam, Algorithm::kAdamW, Algorithm::kSgd}) {
    Arrays arrays(special_values().size());
    arrays.param = special_values();
    const std::vector<float> before = arrays.param;
    update(algorithm, make_update_constants(HyperParameters{}, 1), arrays.view());
    for (std::size_t i = 0; i < before.size(); ++i) {
      if (before[i] != 0.0f) CATCH_CHECK(same_bits(arrays.param[i], before[i]));  // -0 + 0 is +0, as in torch
    }
  }
}

CATCH_TEST_CASE("the caller's rounding and denormal modes neither change a bit nor are changed") {
  const Arrays input = special_arrays();
  ThreadPool pool(2);
  for (const Variant& variant : all_variants()) {
    CATCH_INFO(variant.name);
    for (SimdTarget target : available_targets()) {
      const Arrays want = updated_on(target, variant, input);
      Arrays got;
      int rounding = 0;
      {
        const ModeRestored restored;
        std::fesetround(FE_UPWARD);
#if defined(__SSE__)
        _mm_setcsr(_mm_getcsr() | 0x8040u);  // FTZ and DAZ, as torch::set_flush_denormal(true)
#endif
        got = updated_on(target, variant, input);
        rounding = std::fegetround();
      }
      CATCH_CHECK(rounding == FE_UPWARD);
      CATCH_CHECK(count_differences(got, want) == 0);
    }
  }
}

}  // namespace asterias::hybrid_adam::testing
