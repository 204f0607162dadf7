// The update with 16-bit gradients, 16-bit outputs and coded moments: it is the fp32 update between a decoding and an
// encoding, and the same bits wherever and however it is computed.
#include <cfenv>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "coded_cases.hpp"

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace asterias::hybrid_adam::testing {
namespace {

void update_all(SimdTarget target, const Variant& variant, CodedArrays& arrays) {
  update_on(target, variant.algorithm, variant.constants(), arrays.view());
}

// Puts the arrays through the fp32 update of the portable target, format by format.
CodedArrays composed(const Variant& variant, CodedArrays arrays) {
  Arrays floats(arrays.count);
  floats.param = arrays.param;
  for (std::size_t i = 0; i < arrays.count; ++i) floats.grad[i] = arrays.grad[i];
  floats.exp_avg = arrays.exp_avg.decoded(Moment::kExpAvg);
  floats.exp_avg_sq = arrays.exp_avg_sq.decoded(Moment::kExpAvgSq);
  update_on(SimdTarget::kPortable, variant.algorithm, variant.constants(), floats.view());
  arrays.param = floats.param;
  if (arrays.has_out) cast_on(SimdTarget::kPortable, floats.param.data(), arrays.out.output(), arrays.count);
  const auto encode = [&](Moment moment, const std::vector<float>& from, StoredMoments& to) {
    encode_moments_on(SimdTarget::kPortable, moment, from.data(), to.view(), arrays.count, arrays.first_element,
                      kTestKey);
  };
  const bool is_sgd = variant.algorithm == Algorithm::kSgd;
  if (!is_sgd || variant.hyper.momentum != 0) encode(Moment::kExpAvg, floats.exp_avg, arrays.exp_avg);
  if (!is_sgd) encode(Moment::kExpAvgSq, floats.exp_avg_sq, arrays.exp_avg_sq);
  return arrays;
}

// Special values in all combinations of gradient and moments.
Arrays special_combinations() {
  Arrays arrays = special_arrays();
  for (float& v : arrays.exp_avg_sq) v = std::fabs(v);
  return arrays;
}

// The same without what makes a block of 8-bit moments NaN as a whole.
Arrays finite_combinations() {
  const Arrays all = special_combinations();
  Arrays finite;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const float largest = std::max({std::fabs(all.grad[i]), std::fabs(all.exp_avg[i]), all.exp_avg_sq[i]});
    if (!(largest < 1e19f) || std::isnan(all.grad[i]) || std::isnan(all.exp_avg[i])) continue;
    finite.param.push_back(all.param[i]);
    finite.grad.push_back(all.grad[i]);
    finite.exp_avg.push_back(all.exp_avg[i]);
    finite.exp_avg_sq.push_back(all.exp_avg_sq[i]);
  }
  return finite;
}

void check_against_composition(const Arrays& input, std::size_t count) {
  for (const Formats& formats : all_formats()) {
    const CodedArrays before(formats, input, count);
    for (const Variant& variant : all_variants()) {
      CodedArrays want = composed(variant, before);
      for (SimdTarget target : available_targets()) {
        CodedArrays got = before;
        update_all(target, variant, got);
        CATCH_INFO(to_string(formats) << ", " << variant.name << ", " << target_name(target));
        CATCH_CHECK(got.count_differences(want) == 0);
      }
    }
  }
}

}  // namespace

CATCH_TEST_CASE("a coded update is the fp32 update between decoding and encoding, on random values") {
  check_against_composition(random_arrays(3077, 51), 3077);
}

CATCH_TEST_CASE("a coded update is the fp32 update between decoding and encoding, on special values") {
  for (const Arrays& input : {special_combinations(), finite_combinations()}) {
    CATCH_REQUIRE(input.size() > 10000);
    check_against_composition(input, input.size());
  }
}

CATCH_TEST_CASE("length and alignment change no bit of a coded update and nothing outside is written") {
  const Arrays input = random_arrays(1300, 52);
  const std::vector<Variant> variants = all_variants();
  std::vector<std::size_t> lengths{255, 256, 257, 511, 512, 513, 1023, 1299};
  for (std::size_t n = 0; n < 70; ++n) lengths.push_back(n);
  std::size_t turn = 0;
  for (const Formats& formats : all_formats()) {
    for (std::size_t count : lengths) {
      const Variant& variant = variants[turn++ % variants.size()];
      CodedArrays want(formats, input, count);
      update_all(SimdTarget::kPortable, variant, want);
      CATCH_CHECK(want.has_guards());
      for (SimdTarget target : available_targets()) {
        for (std::size_t offset : {1, 2, 3, 5, 8, 16}) {
          CodedArrays got(formats, input, count, offset);
          update_all(target, variant, got);
          std::size_t wrong = got.has_guards() ? 0 : 1;
          wrong += count_differences(got.param, want.param) + got.exp_avg.count_differences(want.exp_avg) +
                   got.exp_avg_sq.count_differences(want.exp_avg_sq);
          for (std::size_t i = 0; got.has_out && i < count; ++i) wrong += got.out.bits16(i) != want.out.bits16(i);
          CATCH_INFO(to_string(formats) << ", " << variant.name << ", " << target_name(target) << ", count " << count
                                        << ", offset " << offset);
          CATCH_CHECK(wrong == 0);
        }
      }
    }
  }
}

CATCH_TEST_CASE("threads and cuts change no bit of a coded update") {
  const Arrays input = random_arrays(2 * kUpdateBlockElements + 777, 53);
  const Variant variant = all_variants().front();
  for (const Formats& formats : all_formats()) {
    CATCH_INFO(to_string(formats));
    const CodedArrays before(formats, input, input.size());
    CodedArrays want = before;
    update(variant.algorithm, variant.constants(), want.view());
    for (int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      CodedArrays got = before;
      update_parallel(pool, variant.algorithm, variant.constants(), got.view());
      CATCH_CHECK(got.count_differences(want) == 0);
    }
    CodedArrays cut = before;
    const UpdateArrays whole = cut.view();
    const std::size_t step = formats.state == StateCodec::kBlock8 ? 256 * 37 : 9999;
    for (std::size_t begin = 0; begin < whole.count; begin += step) {
      update(variant.algorithm, variant.constants(), whole.part(begin, std::min(step, whole.count - begin)));
    }
    CATCH_CHECK(cut.count_differences(want) == 0);
  }
}

CATCH_TEST_CASE("the output may take the gradient's place") {
  const Arrays input = random_arrays(1111, 54);
  const Variant variant = all_variants().front();
  for (const Formats& formats : all_formats()) {
    if (formats.grad == NumberType::kFloat32 || formats.grad != formats.out) continue;
    CodedArrays want(formats, input, input.size());
    update_all(SimdTarget::kPortable, variant, want);
    for (SimdTarget target : available_targets()) {
      CodedArrays got(formats, input, input.size());
      UpdateArrays in_place = got.view();
      in_place.param_out = got.grad.output();
      update_on(target, variant.algorithm, variant.constants(), in_place);
      std::size_t wrong = got.grad.has_guards() ? 0 : 1;
      for (std::size_t i = 0; i < input.size(); ++i) wrong += got.grad.bits16(i) == want.out.bits16(i) ? 0 : 1;
      CATCH_INFO(to_string(formats) << ", " << target_name(target));
      CATCH_CHECK(wrong == 0);
    }
  }
}

CATCH_TEST_CASE("from zero-filled state the first step is as from zeros") {
  const Arrays input = random_arrays(700, 55);
  Arrays zeros = input;
  zeros.exp_avg.assign(input.size(), 0.0f);
  zeros.exp_avg_sq.assign(input.size(), 0.0f);
  const Variant variant{"adamw", Algorithm::kAdamW, with(0.01), 1, 1.0};
  Arrays want = zeros;
  update(variant.algorithm, variant.constants(), want.view());
  for (StateCodec codec : {StateCodec::kFloat32, StateCodec::kBfloat16, StateCodec::kBlock8}) {
    std::vector<float> param = input.param;
    StoredMoments exp_avg(codec, input.size()), exp_avg_sq(codec, input.size());
    update(variant.algorithm, variant.constants(),
           {param.data(), input.grad.data(), exp_avg.view(), exp_avg_sq.view(), input.size()});
    CATCH_CHECK(count_differences(param, want.param) == 0);
  }
}

CATCH_TEST_CASE("the first SGD step does not read a coded momentum buffer") {
  const Arrays input = random_arrays(600, 56);
  for (StateCodec codec : {StateCodec::kBfloat16, StateCodec::kBlock8}) {
    const auto after_first_step = [&](unsigned char garbage) {
      std::vector<float> param = input.param;
      StoredMoments exp_avg(codec, input.size());
      std::memset(exp_avg.bytes(), garbage, input.size() * size_bytes(codec));
      for (std::size_t b = 0; b < exp_avg.blocks(); ++b) exp_avg.absmax()[b] = garbage;
      update(Algorithm::kSgd, make_update_constants(with(0, 0.9), 1),
             {param.data(), input.grad.data(), exp_avg.view(), nullptr, input.size()});
      CATCH_CHECK(exp_avg.has_guards());
      return exp_avg;
    };
    StoredMoments from_zeros = after_first_step(0), from_garbage = after_first_step(0xff);
    CATCH_CHECK(from_garbage.count_differences(from_zeros) == 0);
  }
}

CATCH_TEST_CASE("the caller's rounding and denormal modes change no bit of a coded update") {
  const Arrays input = special_combinations();
  const Variant variant = all_variants().front();
  for (const Formats& formats : all_formats()) {
    for (SimdTarget target : available_targets()) {
      CodedArrays want(formats, input, 5000), got = want;
      update_all(target, variant, want);
      std::fenv_t saved;
      std::fegetenv(&saved);
      std::fesetround(FE_UPWARD);
#if defined(__SSE__)
      _mm_setcsr(_mm_getcsr() | 0x8040u);  // FTZ and DAZ, as torch::set_flush_denormal(true)
#endif
      update_all(target, variant, got);
      std::fesetenv(&saved);
      CATCH_INFO(to_string(formats) << ", " << target_name(target));
      CATCH_CHECK(got.count_differences(want) == 0);
    }
  }
}

CATCH_TEST_CASE("combinations that do not exist are refused before anything is written") {
  const Arrays input = random_arrays(kUpdateBlockElements + 300, 57);
  const UpdateConstants constants = make_update_constants(HyperParameters{}, 1);
  ThreadPool pool(2);
  const auto refuses = [&](auto&& change) {
    CodedArrays arrays({NumberType::kFloat16, NumberType::kFloat16, StateCodec::kBlock8}, input, input.size());
    CodedArrays before = arrays;
    UpdateArrays view = arrays.view();
    change(view, arrays);
    CATCH_CHECK_THROWS_AS(update(Algorithm::kAdamW, constants, view), StateError);
    CATCH_CHECK_THROWS_AS(update_parallel(pool, Algorithm::kAdamW, constants, view), StateError);
    CATCH_CHECK(arrays.count_differences(before) == 0);
  };
  refuses([](UpdateArrays& view, CodedArrays& own) { view.param_out = static_cast<Bfloat16*>(own.out.data()); });
  refuses([](UpdateArrays& view, CodedArrays& own) { view.param_out = {own.out.data(), NumberType::kFloat32}; });
  refuses([](UpdateArrays& view, CodedArrays& own) { view.exp_avg = own.param.data(); });
  refuses([](UpdateArrays& view, CodedArrays&) { view.first_element = 128; });
}

}  // namespace asterias::hybrid_adam::testing
