// Two engines in one process: they share the tiers, may meet in one loss, and may end in any order.
#include "side_by_side.hpp"

namespace asterias::test {
namespace {

using Catch::Matchers::Contains;
using torch::Tensor;

constexpr int kSteps = 4;

// A generator and a discriminator are layers like any others here; what matters is who trains when.
Deep make_generator() { return Deep(6); }
Deep make_discriminator() { return Deep(7); }

Tensor realness(const Tensor& out, double target) {
  return torch::binary_cross_entropy_with_logits(out.mean(1), torch::full({out.size(0)}, target));
}

// One GAN step: the discriminator on real and fake, then the generator through the discriminator.
template <class G, class D>
void gan_step(G& generator, D& discriminator, int iteration) {
  discriminator.optimizer.zero_grad();
  const Tensor fake = generator(batch(iteration));
  const Tensor loss_d = realness(discriminator(batch(100 + iteration)), 1) + realness(discriminator(fake.detach()), 0);
  discriminator.backward(loss_d);
  discriminator.optimizer.step();
  generator.optimizer.zero_grad();
  const Tensor loss_g = realness(discriminator(generator(batch(200 + iteration))), 1);
  generator.backward(loss_g);
  generator.optimizer.step();
  generator.observe(loss_g.template item<double>());
  discriminator.observe(loss_d.template item<double>());
}

// Two losses summed into one backward, both optimizers stepped after it.
template <class A, class B>
void summed_step(A& a, B& b, int iteration) {
  a.optimizer.zero_grad();
  b.optimizer.zero_grad();
  const Tensor loss = a(batch(iteration)).pow(2).mean() + (b(batch(300 + iteration)) - 0.2).abs().mean();
  (iteration % 2 == 0 ? a : b).backward(loss);
  a.optimizer.step();
  b.optimizer.step();
  a.observe(loss.template item<double>());
}

struct Pair {
  Outcome first, second;
  std::uint64_t need_bytes = 0, data_bytes = 0, peak_bytes = 0;
};

template <class Step>
Pair train_plain(const Step& step) {
  torch::manual_seed(3);
  const auto config = adamw_config();
  const auto run_of = [&](const Deep& deep) {
    return PlainRun<DeepImpl>{deep.ptr(),
                              PlainOptimizer(trainable(*deep), hybrid_adam::Algorithm::kAdamW,
                                             hyper_of(OptimizerType::kAdamW, config.optimizer.params), 0),
                              {}};
  };
  auto first = run_of(make_generator());
  auto second = run_of(make_discriminator());
  for (int i = 0; i < kSteps; ++i) step(first, second, i);
  first.outcome.state = copy_state(*first.module);
  second.outcome.state = copy_state(*second.module);
  return {first.outcome, second.outcome};
}

// Both engines train; then they die in the order asked for, and what is compared is what their modules hold afterwards.
template <class Step>
Pair train_engines(const EngineConfig& config, const Step& step, bool first_dies_first) {
  torch::manual_seed(3);
  using Made = Initialized<DeepImpl>;
  auto made_first = std::make_unique<Made>(initialize_engine(make_generator, config));
  auto made_second = std::make_unique<Made>(initialize_engine(make_discriminator, config));
  EngineRun<DeepImpl> first{made_first->engine, made_first->optimizer, made_first->engine.module(), {}};
  EngineRun<DeepImpl> second{made_second->engine, made_second->optimizer, made_second->engine.module(), {}};
  Pair pair;
  for (int i = 0; i < kSteps; ++i) {
    step(first, second, i);
    for (const auto* made : {made_first.get(), made_second.get()})
      pair.peak_bytes = std::max(pair.peak_bytes, made->engine.stats().tiers[0].peak_bytes);
  }
  pair.need_bytes = tier_plan(made_first->engine.plan(), Tier::kGpu).working_set_bytes;
  pair.data_bytes = made_first->engine.plan().model_data_bytes + made_second->engine.plan().model_data_bytes;
  if (first_dies_first) made_first.reset();
  made_second.reset();
  made_first.reset();
  pair.first = std::move(first.outcome);
  pair.second = std::move(second.outcome);
  pair.first.state = copy_state(*first.module);
  pair.second.state = copy_state(*second.module);
  return pair;
}

template <class Step>
void check_pair(const Step& step) {
  const auto plain = train_plain(step);
  const auto unlimited = train_engines(simulated(adamw_config(), kAmple), step, true);
  const auto limit = std::max(unlimited.need_bytes, unlimited.data_bytes * 12 / 100);
  for (const bool first_dies_first : {true, false}) {
    const auto limited = train_engines(simulated(adamw_config(), limit), step, first_dies_first);
    for (const auto* pair : {&unlimited, &limited}) {
      CATCH_CHECK(difference(plain.first, pair->first) == "");
      CATCH_CHECK(difference(plain.second, pair->second) == "");
    }
    CATCH_CHECK(limited.peak_bytes <= limit);
  }
}

}  // namespace

CATCH_TEST_CASE_METHOD(OneThread, "a GAN: two engines in one loss, interleaved, ended in either order",
                       "[two_engines]") {
  check_pair([](auto& generator, auto& discriminator, int i) { gan_step(generator, discriminator, i); });
}

CATCH_TEST_CASE_METHOD(OneThread, "two engines whose losses are summed into one backward", "[two_engines]") {
  check_pair([](auto& a, auto& b, int i) { summed_step(a, b, i); });
}

CATCH_TEST_CASE_METHOD(OneThread, "a second engine must ask for the same tiers, and may ask for another optimizer",
                       "[two_engines]") {
  auto config = simulated(adamw_config(), kAmple);
  auto [engine, optimizer] = initialize_engine(make_generator, config);
  auto other = config;
  other.tiers.gpu.limit.bytes = kAmple / 2;
  CATCH_CHECK_THROWS_AS(initialize_engine(make_discriminator, other), ConfigError);
  CATCH_CHECK_THROWS_WITH(initialize_engine(make_discriminator, adamw_config()), Contains("same for all engines"));
  config.optimizer.type = OptimizerType::kSgd;
  config.gradient_clipping = 1.0;
  auto [second, its_optimizer] = initialize_engine(make_discriminator, config);
  second.backward(second(batch(1)).sum());
  its_optimizer.step();
  engine.backward(engine(batch(1)).sum());
  optimizer.step();
  CATCH_CHECK(second.stats().step == 1);
  CATCH_CHECK(engine.stats().step == 1);
}

CATCH_TEST_CASE_METHOD(OneThread, "in fp16 another engine's backward goes through frozen parameters only",
                       "[two_engines]") {
  auto [generator, optimizer_g] = initialize_engine(make_generator, simulated(fp16_config(), kAmple));
  auto [discriminator, optimizer_d] = initialize_engine(make_discriminator, simulated(fp16_config(), kAmple));
  generator.eval();  // buffers change while training
  discriminator.eval();
  const auto before_g = generator.fingerprint(), before_d = discriminator.fingerprint();
  const auto backward = [&g = generator, &d = discriminator] { g.backward(realness(d(g(batch(0))), 1)); };
  CATCH_CHECK_THROWS_WITH(backward(), Contains("another engine's backward") && Contains("requires_grad_(false)"));
  for (const auto& parameter : discriminator.module()->parameters()) {
    CATCH_CHECK(!parameter.grad().defined());
    parameter.set_requires_grad(false);
  }
  optimizer_g.zero_grad();
  CATCH_CHECK_NOTHROW(backward());
  optimizer_g.step();
  optimizer_d.step();
  CATCH_CHECK(generator.fingerprint() != before_g);
  CATCH_CHECK(discriminator.fingerprint() == before_d);
  for (const auto& parameter : discriminator.module()->parameters()) parameter.set_requires_grad(true);
  discriminator.backward(realness(discriminator(batch(1)), 1));
  optimizer_d.step();
  CATCH_CHECK(discriminator.fingerprint() != before_d);
}

}  // namespace asterias::test
