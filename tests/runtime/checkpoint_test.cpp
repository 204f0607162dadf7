// asterias::checkpoint: the same bits as without, on plain torch and under an engine, at a fraction of the activations.
#include <ATen/autocast_mode.h>

#include "gpt_pass.hpp"

namespace asterias::test {
namespace {

using Tensors = std::vector<torch::Tensor>;

// Three layers with dropout between, a second output, and an input that needs no gradient.
struct PartsImpl : torch::nn::Module {
  static constexpr std::int64_t kWidth = DeepImpl::kWidth;
  PartsImpl() {
    for (int i = 0; i < 6; ++i)
      layers.push_back(register_module("layer" + std::to_string(i), torch::nn::Linear(kWidth, kWidth)));
  }

  torch::Tensor layer(int i, const torch::Tensor& x) { return torch::dropout(torch::gelu(layers[i](x)), 0.2, true); }

  // Runs `part` as a part of this module that is recomputed, or as it is.
  template <class Part, class... Args>
  auto run(const Part& part, const Args&... args) {
    if constexpr (sizeof...(Args) > 0) return recomputes ? checkpoint(part, args...) : part(args...);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    using Pair = std::pair<torch::Tensor, Tensors>;
    // No input requires gradients here, the parameters do.
    const auto [a, more] = run(
        [this](const torch::Tensor& in, double scale) {
          const auto y = layer(0, in) * scale;
          return Pair(y, {layer(1, y), y.argmax(1)});
        },
        x, 0.5);
    // One recomputed part within another, and a vector of inputs with an integer tensor among them.
    const auto b = run(
        [this](const Tensors& in) {
          const auto y = layer(2, in[0] + in[1]);
          const auto z = run([this](const torch::Tensor& inner) { return layer(3, inner); }, y);
          return z + in[2].unsqueeze(1).to(torch::kFloat) * 1e-3;
        },
        Tensors{a, more[0], more[1]});
    return run(
        [this](const torch::Tensor& in, const std::optional<torch::Tensor>& residual) {
          const auto y = layer(5, layer(4, in));
          return residual ? y + *residual : y;
        },
        b, std::optional<torch::Tensor>(a));
  }

  std::vector<torch::nn::Linear> layers;
  bool recomputes = false;
};
TORCH_MODULE(Parts);

Parts make_parts() { return Parts(); }
Parts make_recomputed_parts() {
  Parts parts;
  parts->recomputes = true;
  return parts;
}

constexpr auto loop = [](auto& run) {
  for (int i = 0; i < 3; ++i) train_step(run, i);
};

models::Gpt make_gpt(bool recomputes) {
  models::GptOptions options;
  options.sequence = 128;
  options.layers = 6;
  options.hidden = 96;
  options.dropout = 0.1;
  models::Gpt gpt(options);
  if (recomputes) gpt->wrap_blocks([](const auto& block, const torch::Tensor& x) { return checkpoint(block, x); });
  return gpt;
}

constexpr auto gpt_loop = [](auto& run) {
  for (int i = 0; i < 2; ++i) {
    run.optimizer.zero_grad();
    for (int pass = 0; pass < 2; ++pass) gpt_pass(run, i, 256, 8, 128);
    run.optimizer.step();
  }
};

torch::Tensor leaf(int seed) { return batch(seed).set_requires_grad(true); }

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread,
                       "what is recomputed keeps its bits: several outputs, nested, dropout, no input in the graph",
                       "[checkpoint]") {
  const auto kept = run_plain(adamw_config(), make_parts, loop);
  CATCH_CHECK(difference(kept, run_plain(adamw_config(), make_recomputed_parts, loop)) == "");
  check_same_bits(adamw_config(), make_recomputed_parts, loop);
}

CATCH_TEST_CASE_METHOD(OneThread, "a GPT recomputed block by block keeps its bits and half of its activations go",
                       "[checkpoint]") {
  const auto kept = run_engine(
      simulated(adamw_config(), kAmple), [] { return make_gpt(false); }, gpt_loop);
  const auto recomputed = run_engine(
      simulated(adamw_config(), kAmple), [] { return make_gpt(true); }, gpt_loop);
  CATCH_CHECK(difference(kept.outcome, recomputed.outcome) == "");
  CATCH_CHECK_FALSE(recomputed.stats.is_warm_up);
  CATCH_CHECK(difference(kept.outcome, run_plain(
                                           adamw_config(), [] { return make_gpt(true); }, gpt_loop)) == "");
  // Parameters and gradients lie on the compute tier either way; the moments do not come there.
  const auto activations = [](const EngineOutcome& run) {
    return run.stats.tiers[0].peak_bytes - run.plan.model_data_bytes / 2;
  };
  CATCH_INFO("activations " << activations(kept) << " and " << activations(recomputed) << " bytes");
  CATCH_CHECK(activations(recomputed) < activations(kept) / 2);

  const auto limit = tight_bytes(recomputed.plan);
  const auto limited = run_engine(
      simulated(adamw_config(), limit), [] { return make_gpt(true); }, gpt_loop);
  CATCH_CHECK(difference(kept.outcome, limited.outcome) == "");
  CATCH_CHECK(limited.stats.tiers[0].peak_bytes <= limit);
}

CATCH_TEST_CASE_METHOD(OneThread, "recomputing leaves the random generator where it found it", "[checkpoint]") {
  torch::manual_seed(1);
  auto x = leaf(0);
  const auto y = checkpoint([](const torch::Tensor& in) { return torch::dropout(in, 0.5, true); }, x);
  const auto before = at::detail::getDefaultCPUGenerator().get_state().clone();
  y.sum().backward();
  CATCH_CHECK(torch::equal(before, at::detail::getDefaultCPUGenerator().get_state()));
  // The same elements were dropped both times: 2 where the mask is, 0 elsewhere.
  CATCH_CHECK(torch::equal(x.grad(), (y != 0).to(torch::kFloat) * 2));
}

CATCH_TEST_CASE("autocast is as it was when the part is run again", "[checkpoint]") {
  torch::nn::Linear layer(8, 8);
  const auto run = [&](bool recomputes) {
    layer->zero_grad();
    const auto x = normal({4, 8}, 1).set_requires_grad(true);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::increment_nesting();
    const auto part = [&](const torch::Tensor& in) { return torch::gelu(layer(in)); };
    const auto y = recomputes ? checkpoint(part, x) : part(x);
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
    CATCH_CHECK(y.scalar_type() == torch::kBFloat16);
    y.to(torch::kFloat).sum().backward();
    CATCH_CHECK_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
    return Tensors{y.to(torch::kFloat).detach(), x.grad().clone(), layer->weight.grad().clone()};
  };
  const auto kept = run(false), recomputed = run(true);
  for (std::size_t i = 0; i < kept.size(); ++i) CATCH_CHECK(torch::equal(kept[i], recomputed[i]));
}

CATCH_TEST_CASE("outside gradient mode a checkpoint is a plain call", "[checkpoint]") {
  const torch::NoGradGuard no_grad;
  int calls = 0;
  const auto y = checkpoint([&](const torch::Tensor& in) { return ++calls, in * 2; }, leaf(0));
  CATCH_CHECK(calls == 1);
  CATCH_CHECK_FALSE(y.requires_grad());
}

CATCH_TEST_CASE("inputs that need no gradient get none, and unused outputs cost nothing", "[checkpoint]") {
  auto x = leaf(0);
  const auto constant = batch(1);
  const auto outputs = checkpoint(
      [](const torch::Tensor& a, const torch::Tensor& b) {
        return Tensors{a * b, b + 1, a.exp()};
      },
      x, constant);
  outputs[0].sum().backward();
  CATCH_CHECK(torch::equal(x.grad(), constant));
  CATCH_CHECK_FALSE(constant.grad().defined());
}

CATCH_TEST_CASE("backward twice through a retained graph accumulates twice", "[checkpoint]") {
  auto x = leaf(0);
  const auto y = checkpoint([](const torch::Tensor& in) { return in.exp(); }, x).sum();
  y.backward({}, /*retain_graph=*/true);
  const auto once = x.grad().clone();
  y.backward();
  CATCH_CHECK(torch::equal(x.grad(), once + once));
}

CATCH_TEST_CASE("what a checkpoint cannot do is said", "[checkpoint]") {
  using Catch::Matchers::Contains;
  auto x = leaf(0);
  CATCH_SECTION("writing an input") {
    CATCH_CHECK_THROWS_WITH(checkpoint([](torch::Tensor in) { return in.add_(1); }, x * 1),
                            Contains("input tensor number 0 in place"));
  }
  CATCH_SECTION("a second derivative") {
    const auto y = checkpoint([](const torch::Tensor& in) { return in.exp(); }, x);
    CATCH_CHECK_THROWS_WITH(y.sum().backward({}, true, /*create_graph=*/true), Contains("create_graph"));
  }
  CATCH_SECTION("torch::autograd::grad") {
    const auto y = checkpoint([](const torch::Tensor& in) { return in.exp(); }, x);
    CATCH_CHECK_THROWS_WITH(torch::autograd::grad({y.sum()}, {x}), Contains("call backward() on the loss"));
  }
  CATCH_SECTION("another shape the second time") {
    int calls = 0;
    const auto y = checkpoint([&](const torch::Tensor& in) { return calls++ == 0 ? in.exp() : in.exp().sum(); }, x);
    CATCH_CHECK_THROWS_WITH(y.sum().backward(), Contains("other number or shapes"));
  }
  CATCH_SECTION("an exception in the second run goes through") {
    int calls = 0;
    const auto y = checkpoint(
        [&](const torch::Tensor& in) {
          if (calls++ == 1) throw std::runtime_error("second run");
          return in.exp();
        },
        x);
    CATCH_CHECK_THROWS_WITH(y.sum().backward(), Contains("second run"));
  }
}

}  // namespace asterias::test
