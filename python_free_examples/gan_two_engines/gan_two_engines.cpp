// A generator and a discriminator, each with an engine and an optimizer of its own, in one budget. The generator's loss
// goes backward through both.
//
// usage: gan_two_engines [capacity of the simulated accelerator, e.g. 16MiB]
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <asterias/asterias.h>

torch::nn::Sequential three_layers(int in, int out) {
  return torch::nn::Sequential(torch::nn::Linear(in, 1024), torch::nn::LeakyReLU(), torch::nn::Linear(1024, 1024),
                               torch::nn::LeakyReLU(), torch::nn::Linear(1024, out));
}

// What the generator shall learn to make: points around (2, -1).
torch::Tensor real_points() { return torch::randn({64, 2}) * 0.3 + torch::tensor({2.0F, -1.0F}); }

torch::Tensor noise() { return torch::randn({64, 16}); }

torch::Tensor judged_as(const torch::Tensor& judgement, double truth) {
  return torch::binary_cross_entropy_with_logits(judgement, torch::full_like(judgement, truth));
}

// How far the middle of `points` lies from the middle of the real ones.
double distance(const torch::Tensor& points) {
  return (points.mean(0) - torch::tensor({2.0F, -1.0F})).norm().item<double>();
}

int main(int argc, char** argv) try {
  asterias::EngineConfig config;
  config.device = "simulated";  // a part of DRAM that follows the rules of an accelerator's memory
  config.set(std::string("tiers.gpu.limit=") + (argc > 1 ? argv[1] : "16MiB"));
  config.optimizer.type = asterias::OptimizerType::kAdam;
  config.optimizer.params.lr = 2e-4;
  config.optimizer.params.betas = {{0.5, 0.9}};
  torch::manual_seed(1);  // so that runs can be compared

  // All engines of a process share its tiers, so they name the same ones; the rest may differ.
  auto [generator, generator_optimizer] = asterias::initialize_engine([] { return three_layers(16, 2); }, config);
  config.optimizer.params.lr = 4e-4;
  auto [discriminator, discriminator_optimizer] =
      asterias::initialize_engine([] { return three_layers(2, 1); }, config);

  double before = 0, after = 0;
  std::uint64_t peak = 0;
  for (int step = 0; step < 60; ++step) {
    discriminator_optimizer.zero_grad();
    const auto fake = generator(noise()).detach();
    discriminator.backward(judged_as(discriminator(real_points()), 1) + judged_as(discriminator(fake), 0));
    discriminator_optimizer.step();

    generator_optimizer.zero_grad();
    const auto points = generator(noise());
    generator.backward(judged_as(discriminator(points), 1));  // gradients reach both; only the generator steps
    generator_optimizer.step();

    after = distance(points);
    if (step == 0) before = after;
    for (const auto* stats : {&generator.stats(), &discriminator.stats()})
      peak = std::max(peak, stats->tiers[static_cast<int>(asterias::Tier::kGpu)].peak_bytes);
  }
  const auto model_data = generator.plan().model_data_bytes + discriminator.plan().model_data_bytes;
  std::printf("distance %.2f -> %.2f\n", before, after);
  std::printf("both have model data of %.1f MiB, peak on the accelerator %.1f MiB\n", model_data / 1048576.0,
              peak / 1048576.0);
  std::printf("fingerprints %016lx %016lx\n", generator.fingerprint(), discriminator.fingerprint());
  return after < before / 2 ? 0 : 1;
} catch (const asterias::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
