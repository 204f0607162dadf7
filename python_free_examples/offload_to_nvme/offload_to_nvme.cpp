// Trains a model whose weights, gradients and optimizer state are larger than the DRAM that the process may have. A
// budget that is too small is refused before any weight changes, with the budgets that would do.
//
// usage: offload_to_nvme [DRAM budget, or null for no limit [folder for swap files, on a drive]]
#include <cstdio>
#include <fstream>
#include <string>

#include <asterias/asterias.h>

// 32 residual blocks of one million parameters each.
struct DeepImpl : torch::nn::Module {
  DeepImpl() {
    for (int i = 0; i < 32; ++i) {
      norms->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({1024})));
      linears->push_back(torch::nn::Linear(1024, 1024));
    }
    register_module("norms", norms);
    register_module("linears", linears);
  }
  torch::Tensor forward(torch::Tensor x) {
    for (std::size_t i = 0; i < linears->size(); ++i)
      x = x + torch::gelu(
                  linears->ptr<torch::nn::LinearImpl>(i)->forward(norms->ptr<torch::nn::LayerNormImpl>(i)->forward(x)));
    return x;
  }
  torch::nn::ModuleList norms, linears;
};
TORCH_MODULE(Deep);

double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// The largest resident set this process ever had, in the kernel's own words: "VmHWM:   244560 kB".
std::string peak_resident_set() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM")) return std::to_string(std::stoull(line.substr(6)) / 1024) + " MiB";
  return "unknown";
}

void train(const asterias::EngineConfig& config) {
  torch::manual_seed(1);  // so that runs can be compared
  // A function, not a module: while it runs, parameters may already leave for the drive.
  auto [engine, optimizer] = asterias::initialize_engine([] { return Deep(); }, config);
  std::printf("model data %.0f MiB\n", mib(engine.plan().model_data_bytes));
  const auto input = torch::randn({16, 1024}), target = torch::randn({16, 1024});
  for (int step = 1; step <= 5; ++step) {
    optimizer.zero_grad();
    const auto loss = torch::mse_loss(engine(input), target);
    engine.backward(loss);
    optimizer.step();
    const auto& stats = engine.stats();
    std::printf("step %d  loss %.4f  %4.0f MiB read  %4.0f MiB written  peak so far %s\n", step, loss.item<double>(),
                mib(stats.nvme_read_bytes), mib(stats.nvme_write_bytes), peak_resident_set().c_str());
  }
  std::printf("fingerprint %016lx\n", engine.fingerprint());
}

int main(int argc, char** argv) try {
  asterias::EngineConfig config;
  config.device = "cpu";  // DRAM and the drive, also where there is a card
  config.set(std::string("tiers.cpu.limit=") + (argc > 1 ? argv[1] : "256MiB"));
  config.tiers.nvme.paths = {argc > 2 ? argv[2] : "swap"};
  config.optimizer.params.lr = 1e-3;
  train(config);
  return 0;
} catch (const asterias::BudgetError& error) {
  // what() says all of this in words; a program that chooses budgets itself reads the numbers.
  std::printf("refused: %.0f MiB given\n", mib(error.have_bytes()));
  for (const auto& budget : error.smallest())
    std::printf("would do: tiers.%s.limit %.0fMiB\n", std::string(asterias::tier_name(budget.tier)).c_str(),
                mib(budget.bytes));
  return 3;
} catch (const asterias::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
