// Trains two modules of your own, an LSTM and a CNN, in a memory budget. Neither of them knows that Asterias is there.
//
// usage: wrap_your_model [DRAM budget, e.g. 360MiB [folder for swap files, on a drive]]
#include <cstdio>
#include <iostream>

#include <asterias/asterias.h>

// Reads a row of digits and names the first: it has to remember.
struct FirstDigitImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& digits) {
    const auto [states, last] = lstm(embedding(digits));
    return out(states.select(1, -1));
  }
  torch::nn::Embedding embedding = register_module("embedding", torch::nn::Embedding(10, 512));
  torch::nn::LSTM lstm =
      register_module("lstm", torch::nn::LSTM(torch::nn::LSTMOptions(512, 768).num_layers(3).batch_first(true)));
  torch::nn::Linear out = register_module("out", torch::nn::Linear(768, 10));
};
TORCH_MODULE(FirstDigit);

// Says which quarter of a noisy picture is bright.
struct BrightQuarterImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& picture) {
    auto x = torch::max_pool2d(torch::relu(norm(conv1(picture))), 2);
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    return out(x.flatten(1));
  }
  torch::nn::Conv2d conv1 = register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 32, 3).padding(1)));
  torch::nn::BatchNorm2d norm = register_module("norm", torch::nn::BatchNorm2d(32));
  torch::nn::Conv2d conv2 = register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 64, 3).padding(1)));
  torch::nn::Linear out = register_module("out", torch::nn::Linear(64 * 4 * 4, 4));
};
TORCH_MODULE(BrightQuarter);

struct Batch {
  torch::Tensor input, target;
};

Batch rows_of_digits() {
  const auto digits = torch::randint(10, {32, 6});
  return {digits, digits.select(1, 0)};
}

Batch noisy_pictures() {
  const auto pictures = torch::randn({32, 1, 16, 16});
  const auto quarter = torch::randint(4, {32});
  for (int i = 0; i < 32; ++i) {
    const auto q = quarter[i].item<int>();
    pictures[i][0].slice(0, q / 2 * 8, q / 2 * 8 + 8).slice(1, q % 2 * 8, q % 2 * 8 + 8) += 1;
  }
  return {pictures, quarter};
}

// The loop, as for any other module. True if the loss has halved at least.
template <class MakeModel>
bool train(const char* name, MakeModel make_model, Batch (*next_batch)(), const asterias::EngineConfig& config) {
  torch::manual_seed(1);  // so that runs can be compared
  auto [engine, optimizer] = asterias::initialize_engine(make_model, config);
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    const Batch batch = next_batch();
    optimizer.zero_grad();
    const auto device = engine.device();  // a card where there is one, and config names no other
    const torch::Tensor loss = torch::cross_entropy_loss(engine(batch.input.to(device)), batch.target.to(device));
    engine.backward(loss);
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  std::printf("%-4s  loss %.3f -> %.3f  fingerprint %016lx\n", name, first, last, engine.fingerprint());
  return last < first / 2;
}

int main(int argc, char** argv) try {
  asterias::EngineConfig config;
  config.optimizer.params.lr = 2e-3;
  if (argc > 1) config.set(std::string("tiers.cpu.limit=") + argv[1]);
  if (argc > 2) config.tiers.nvme.paths = {argv[2]};
  const bool learned_digits = train(
      "LSTM", [] { return FirstDigit(); }, rows_of_digits, config);
  const bool learned_pictures = train(
      "CNN", [] { return BrightQuarter(); }, noisy_pictures, config);
  return learned_digits && learned_pictures ? 0 : 1;
} catch (const asterias::Error& error) {
  std::cerr << error.what() << "\n";
  return 2;
}
