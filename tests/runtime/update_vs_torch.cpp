// Our update against libtorch's fused kernels and torch::optim::SGD, one step from the same state.
//
// double_reference.hpp says what that means where the update is larger than the parameter.
#include <catch2/catch.hpp>
#include <torch/torch.h>

#include "../hybrid_adam/double_reference.hpp"
#include "../hybrid_adam/update_cases.hpp"

namespace asterias::hybrid_adam::testing {
namespace {

void copy(std::vector<float>& to, const torch::Tensor& from) {
  std::copy_n(from.contiguous().data_ptr<float>(), to.size(), to.begin());
}

torch::Tensor view(std::vector<float>& values) {
  return torch::from_blob(values.data(), {static_cast<std::int64_t>(values.size())}, torch::kFloat);
}

// Parameters of about 0.02 and the moments that gradients of about 0.01 leave; empty moments for a first step.
Arrays training_arrays(std::size_t count, bool first_step) {
  torch::manual_seed(5);
  const auto randn = [&](double scale) { return torch::randn({static_cast<std::int64_t>(count)}) * scale; };
  Arrays arrays(count);
  copy(arrays.param, randn(0.02));
  copy(arrays.grad, randn(0.01));
  if (first_step) return arrays;
  copy(arrays.exp_avg, randn(0.003));
  copy(arrays.exp_avg_sq, randn(0.01).square() + 1e-6);
  return arrays;
}

void torch_fused_step(const Variant& v, Arrays& a) {
  const HyperParameters& h = v.hyper;
  const torch::Tensor step = torch::full({}, static_cast<double>(v.step), torch::kFloat);
  const std::vector<torch::Tensor> p{view(a.param)}, g{view(a.grad)}, m{view(a.exp_avg)}, sq{view(a.exp_avg_sq)};
  if (v.algorithm == Algorithm::kAdamW) {
    at::_fused_adamw_(p, g, m, sq, {}, {step}, h.lr, h.beta1, h.beta2, h.weight_decay, h.eps, false, false);
  } else {
    at::_fused_adam_(p, g, m, sq, {}, {step}, h.lr, h.beta1, h.beta2, h.weight_decay, h.eps, false, false);
  }
}

// Grades our step from `before` against theirs by the terms of the double-precision step.
Accuracy graded(const Variant& v, const Arrays& before, const Arrays& ours, const Arrays& theirs) {
  Accuracy accuracy;
  for (std::size_t i = 0; i < before.size(); ++i) {
    State want = reference_step(v.algorithm, v.hyper, v.step, 1.0, before.param[i], before.grad[i], before.exp_avg[i],
                                before.exp_avg_sq[i]);
    want.param.value = theirs.param[i];
    want.exp_avg.value = theirs.exp_avg[i];
    want.exp_avg_sq.value = theirs.exp_avg_sq[i];
    accuracy.grade(want, before.param[i], ours.param[i], ours.exp_avg[i], ours.exp_avg_sq[i]);
  }
  return accuracy;
}

}  // namespace

CATCH_TEST_CASE("a step agrees with torch's fused Adam and AdamW to 4 ulp of the largest term") {
  HyperParameters slow;
  slow.lr = 3e-4;
  slow.beta1 = 0.4;
  slow.beta2 = 0.95;
  slow.weight_decay = 0.1;
  for (Algorithm algorithm : {Algorithm::kAdam, Algorithm::kAdamW}) {
    for (const HyperParameters& hyper : {with(0), with(0.01), slow}) {
      for (std::uint64_t step : {1, 2, 1000}) {
        const Variant variant{"", algorithm, hyper, step, 1.0};
        const Arrays before = training_arrays(200003, step == 1);
        Arrays ours = before, theirs = before;
        update(algorithm, variant.constants(), ours.view());
        torch_fused_step(variant, theirs);
        CATCH_INFO("algorithm " << static_cast<int>(algorithm) << ", beta1 " << hyper.beta1 << ", weight decay "
                                << hyper.weight_decay << ", step " << step);
        CATCH_CHECK(count_differences(theirs.param, before.param) > 190000);
        const Accuracy accuracy = graded(variant, before, ours, theirs);
        CATCH_CHECK(accuracy.wrong() == 0);
        CATCH_CHECK(accuracy.is_rarely_beyond_4());
      }
    }
  }
}

CATCH_TEST_CASE("steps agree with torch::optim::SGD to 4 ulp of the largest term") {
  for (const HyperParameters& hyper :
       {with(0), with(0.1), with(0.01, 0.9), with(0, 0.9, 0.5), with(0.1, 0.9, 0, true)}) {
    Arrays state = training_arrays(20011, true);
    torch::Tensor param = view(state.param).clone().requires_grad_(true);
    torch::optim::SGD sgd({param}, torch::optim::SGDOptions(hyper.lr)
                                       .momentum(hyper.momentum)
                                       .dampening(hyper.dampening)
                                       .weight_decay(hyper.weight_decay)
                                       .nesterov(hyper.nesterov));
    for (std::uint64_t step = 1; step <= 3; ++step) {
      const Variant variant{"", Algorithm::kSgd, hyper, step, 1.0};
      const Arrays before = state;
      Arrays ours = before;
      update(Algorithm::kSgd, variant.constants(), ours.view());
      param.mutable_grad() = view(state.grad).clone();
      sgd.step();
      copy(state.param, param.detach());
      if (hyper.momentum != 0) {
        auto& buffers = static_cast<torch::optim::SGDParamState&>(*sgd.state().at(param.unsafeGetTensorImpl()));
        copy(state.exp_avg, buffers.momentum_buffer());
      }
      CATCH_INFO("weight decay " << hyper.weight_decay << ", momentum " << hyper.momentum << ", dampening "
                                 << hyper.dampening << ", nesterov " << hyper.nesterov << ", step " << step);
      CATCH_CHECK(graded(variant, before, ours, state).wrong() == 0);
    }
  }
}

}  // namespace asterias::hybrid_adam::testing
