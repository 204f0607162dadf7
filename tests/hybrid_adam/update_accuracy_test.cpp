// The update computes what the papers say: against double precision, one step and many.
#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "double_reference.hpp"
#include "hybrid_adam/update_kernel.hpp"
#include "update_cases.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

Accuracy graded(const Variant& v, const Arrays& before, const Arrays& after) {
  const bool has_exp_avg = v.algorithm != Algorithm::kSgd || v.hyper.momentum != 0;
  const bool has_exp_avg_sq = v.algorithm != Algorithm::kSgd;
  Accuracy accuracy;
  for (std::size_t i = 0; i < before.size(); ++i) {
    const State want = reference_step(v.algorithm, v.hyper, v.step, v.grad_scale, before.param[i], before.grad[i],
                                      before.exp_avg[i], before.exp_avg_sq[i]);
    accuracy.grade(want, before.param[i], after.param[i], has_exp_avg ? after.exp_avg[i] : want.exp_avg.value,
                   has_exp_avg_sq ? after.exp_avg_sq[i] : want.exp_avg_sq.value);
  }
  return accuracy;
}

}  // namespace

CATCH_TEST_CASE("one step is near a double-precision step, by ulp of the largest term") {
  const Arrays before = random_arrays(300000, 11);
  for (const Variant& variant : all_variants()) {
    Arrays after = before;
    update(variant.algorithm, variant.constants(), after.view());
    const Accuracy accuracy = graded(variant, before, after);
    CATCH_INFO(variant.name << ", beyond 4 ulp: " << accuracy.beyond_4());
    CATCH_CHECK(accuracy.wrong() == 0);
    CATCH_CHECK(accuracy.is_rarely_beyond_4());
  }
}

CATCH_TEST_CASE("the first step from empty moments is as near, and moves by lr against the gradient's sign") {
  Arrays before = random_arrays(10000, 12);
  before.exp_avg.assign(before.size(), 0.0f);
  before.exp_avg_sq.assign(before.size(), 0.0f);
  const Variant variant{"adamw", Algorithm::kAdamW, HyperParameters{}, 1, 1.0};
  Arrays after = before;
  update(variant.algorithm, variant.constants(), after.view());
  CATCH_CHECK(graded(variant, before, after).wrong() == 0);

  Arrays one(1);
  one.param[0] = 1.0f;
  one.grad[0] = 3.0f;
  update(Algorithm::kAdamW, make_update_constants(HyperParameters{}, 1), one.view());
  CATCH_CHECK(one.param[0] == Approx(0.999).epsilon(1e-6));
}

// Each float step adds half an ulp of the parameter at most, and a bias in exp_avg_sq: float beta2 + float (1 - beta2)
// differ from 1 by 1.3e-5 (1 - beta2) at 0.999, which halves under the root.
CATCH_TEST_CASE("two thousand steps stay near a double-precision run") {
  constexpr std::size_t kCount = 211, kSteps = 2000;
  for (Algorithm algorithm : {Algorithm::kAdam, Algorithm::kAdamW, Algorithm::kSgd}) {
    const HyperParameters hyper = with(0.01, 0.9, 0, algorithm == Algorithm::kSgd);
    Arrays arrays = random_arrays(kCount, 13);
    arrays.exp_avg.assign(kCount, 0.0f);
    arrays.exp_avg_sq.assign(kCount, 0.0f);
    std::vector<double> param(arrays.param.begin(), arrays.param.end()), exp_avg(kCount), exp_avg_sq(kCount);
    std::vector<double> path(kCount);  // sum of |update|
    LogUniform draw(14);
    for (std::uint64_t step = 1; step <= kSteps; ++step) {
      for (std::size_t i = 0; i < kCount; ++i) arrays.grad[i] = draw.either_sign(1e-4, 1) + 0.01f;
      for (std::size_t i = 0; i < kCount; ++i) {
        const State next =
            reference_step(algorithm, hyper, step, 1.0, param[i], arrays.grad[i], exp_avg[i], exp_avg_sq[i]);
        path[i] += std::fabs(next.param.value - param[i]);
        param[i] = next.param.value;
        exp_avg[i] = next.exp_avg.value;
        exp_avg_sq[i] = next.exp_avg_sq.value;
      }
      update(algorithm, make_update_constants(hyper, step), arrays.view());
    }
    double worst = 0.0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const double allowed = kSteps * 0.5 * float_ulp(std::fabs(param[i]) + path[i]) * 0.2 + 1e-5 * path[i];
      worst = std::max(worst, std::fabs(arrays.param[i] - param[i]) / allowed);
    }
    CATCH_INFO("algorithm " << static_cast<int>(algorithm) << ", worst share of the allowance " << worst);
    CATCH_CHECK(worst <= 1.0);
  }
}

CATCH_TEST_CASE("eps 0 divides by the root alone") {
  HyperParameters hyper;
  hyper.eps = 0;
  Arrays arrays(2);
  arrays.param = {1.0f, 1.0f};
  arrays.grad = {1e-12f, 0.0f};
  update(Algorithm::kAdamW, make_update_constants(hyper, 1), arrays.view());
  CATCH_CHECK(arrays.param[0] == Approx(1.0 - hyper.lr).epsilon(1e-6));
  CATCH_CHECK(std::isnan(arrays.param[1]));  // 0 / 0, as torch
}

CATCH_TEST_CASE("non-finite gradients show in the parameter and a huge one freezes it, as in torch") {
  Arrays arrays(3);
  arrays.param = {1.0f, 1.0f, 1.0f};
  arrays.grad = {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e30f};
  for (std::uint64_t step = 1; step <= 3; ++step)
    update(Algorithm::kAdamW, make_update_constants({}, step), arrays.view());
  CATCH_CHECK(std::isnan(arrays.param[0]));
  CATCH_CHECK(std::isnan(arrays.param[1]));
  CATCH_CHECK(arrays.param[2] == 1.0f);  // exp_avg_sq is infinite from the first step on
}

CATCH_TEST_CASE("a step count of 0 is refused") {
  CATCH_CHECK_THROWS_AS(make_update_constants(HyperParameters{}, 0), StateError);
}

}  // namespace asterias::hybrid_adam::testing
