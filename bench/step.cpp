// One training step of a GPT: plain libtorch with its fused AdamW, the engine with everything fitting, and the engine
// at budgets that hold a part of the model data. All contenders take turns in one process; times are compared within a
// round.
//
// Budgets are of the simulated accelerator's memory, as a share of the model data (16 bytes a parameter), with DRAM
// below, or DRAM and NVMe below if --nvme-path and --cpu-limit are given. Output: JSON with every contender's best and
// median step and its ratio to plain.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>

#include <CLI/CLI.hpp>
#include <asterias/asterias.h>
#include <nlohmann/json.hpp>

#include "base/byte_size.hpp"
#include "base/median.hpp"
#include "hybrid_adam/simd_target.hpp"
#include "models/gpt.hpp"

namespace {

using asterias::median;
using asterias::models::Gpt;
using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

struct Setting {
  asterias::models::GptOptions model{8192, 128, 8, 512, 8, 0.0};
  std::int64_t batch = 4;
  int rounds = 7;
  int steps = 2;  // timed per round, after warm-up
  int threads = 2;
  std::string nvme_path;
  std::string cpu_limit;
};

struct Contender {
  std::string name;
  int percent;  // of the model data on the compute tier; 0: plain libtorch; 100: everything fits, no accelerator
  std::vector<double> seconds;
  asterias::StepStats last;
};

class Batches {
 public:
  explicit Batches(const Setting& setting) : setting_(setting), generator_(at::detail::createCPUGenerator(3)) {}
  torch::Tensor next() {
    return torch::randint(setting_.model.vocabulary, {setting_.batch, setting_.model.sequence + 1}, generator_);
  }

 private:
  const Setting& setting_;
  torch::Generator generator_;
};

torch::Tensor loss_of(const torch::Tensor& logits, const torch::Tensor& ids) {
  return asterias::models::next_token_loss(logits, ids.narrow(1, 1, ids.size(1) - 1));
}

// Runs one warm-up step and times the rest.
template <class Step>
void time_steps(const Setting& setting, Contender& contender, int warm_up, const Step& step) {
  for (int i = 0; i < warm_up; ++i) step();
  for (int i = 0; i < setting.steps; ++i) {
    const auto start = Clock::now();
    step();
    contender.seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

void run_plain(const Setting& setting, Contender& contender) {
  torch::manual_seed(1);
  Gpt model(setting.model);
  Batches batches(setting);
  std::vector<torch::Tensor> parameters = model->parameters(), exp_avgs, exp_avg_sqs, steps;
  for (const auto& parameter : parameters) {
    exp_avgs.push_back(torch::zeros_like(parameter));
    exp_avg_sqs.push_back(torch::zeros_like(parameter));
    steps.push_back(torch::zeros({}));
  }
  time_steps(setting, contender, 2, [&] {
    for (auto& parameter : parameters) parameter.mutable_grad().reset();
    const auto ids = batches.next();
    loss_of(model(ids.narrow(1, 0, ids.size(1) - 1)), ids).backward();
    const torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> gradients;
    for (auto& parameter : parameters) gradients.push_back(parameter.grad());
    at::_foreach_add_(steps, 1);
    at::_fused_adamw_(parameters, gradients, exp_avgs, exp_avg_sqs, {}, steps, 1e-3, 0.9, 0.999, 1e-2, 1e-8, false,
                      false);
  });
}

void run_engine(const Setting& setting, Contender& contender) {
  asterias::EngineConfig config;
  config.cpu.threads = setting.threads;
  if (contender.percent < 100) {
    config.device = "simulated";
    const auto model_data = static_cast<std::uint64_t>(setting.model.num_parameters()) * 16;
    config.tiers.gpu.limit.bytes = model_data * static_cast<std::uint64_t>(contender.percent) / 100;
    if (!setting.nvme_path.empty()) config.tiers.nvme.paths = {setting.nvme_path};
    if (!setting.cpu_limit.empty()) config.tiers.cpu.limit.bytes = asterias::parse_bytes(setting.cpu_limit);
  }
  torch::manual_seed(1);
  auto [engine, optimizer] = asterias::initialize_engine([&] { return Gpt(setting.model); }, config);
  Batches batches(setting);
  auto& model = engine;
  auto& adam = optimizer;
  time_steps(setting, contender, 2, [&] {
    adam.zero_grad();
    const auto ids = batches.next();
    model.backward(loss_of(model(ids.narrow(1, 0, ids.size(1) - 1)), ids));
    adam.step();
  });
  contender.last = engine.stats();
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown";
}

Json report(const Setting& setting, const std::vector<Contender>& contenders) {
  Json json;
  json["benchmark"] = "step";
  json["machine"] = {{"cpu", cpu_model()},
                     {"threads", setting.threads},
                     {"simd", asterias::hybrid_adam::target_name(asterias::hybrid_adam::best_target())}};
  json["model"] = {{"parameters", setting.model.num_parameters()},
                   {"layers", setting.model.layers},
                   {"hidden", setting.model.hidden},
                   {"sequence", setting.model.sequence},
                   {"batch", setting.batch}};
  json["rounds"] = setting.rounds;
  const auto& plain = contenders.front();
  for (const auto& contender : contenders) {
    std::vector<double> ratios;  // of the same round and step
    for (std::size_t i = 0; i < contender.seconds.size(); ++i)
      ratios.push_back(contender.seconds[i] / plain.seconds[i]);
    Json row;
    row["name"] = contender.name;
    row["best_ms"] = *std::min_element(contender.seconds.begin(), contender.seconds.end()) * 1e3;
    row["median_ms"] = median(contender.seconds) * 1e3;
    row["ratio_best"] =
        row["best_ms"].get<double>() / (*std::min_element(plain.seconds.begin(), plain.seconds.end()) * 1e3);
    row["ratio_median"] = median(ratios);
    if (contender.percent > 0) {
      row["forward_ms"] = contender.last.forward_ms;
      row["backward_ms"] = contender.last.backward_ms;
      row["update_ms"] = contender.last.update_ms;
      row["stall_ms"] = contender.last.stall_fetch_ms + contender.last.stall_evict_ms;
      row["h2d_bytes"] = contender.last.h2d_bytes;
      row["d2h_bytes"] = contender.last.d2h_bytes;
      row["nvme_read_bytes"] = contender.last.nvme_read_bytes;
      row["nvme_write_bytes"] = contender.last.nvme_write_bytes;
    }
    json["contenders"].push_back(row);
  }
  return json;
}

}  // namespace

int main(int argc, char** argv) try {
  Setting setting;
  CLI::App app("Times one training step: plain libtorch against the engine at several budgets");
  app.add_option("--rounds", setting.rounds, "rounds, each contender once a round")->capture_default_str();
  app.add_option("--steps", setting.steps, "timed steps per contender and round")->capture_default_str();
  app.add_option("--threads", setting.threads, "torch and update threads")->capture_default_str();
  app.add_option("--layers", setting.model.layers)->capture_default_str();
  app.add_option("--hidden", setting.model.hidden)->capture_default_str();
  app.add_option("--heads", setting.model.heads)->capture_default_str();
  app.add_option("--seq", setting.model.sequence)->capture_default_str();
  app.add_option("--vocabulary", setting.model.vocabulary)->capture_default_str();
  app.add_option("--batch", setting.batch)->capture_default_str();
  app.add_option("--nvme-path", setting.nvme_path, "folder for swap files below the budgets");
  app.add_option("--cpu-limit", setting.cpu_limit, "DRAM limit of the budgeted runs");
  CLI11_PARSE(app, argc, argv);
  torch::set_num_threads(setting.threads);
  std::vector<Contender> contenders{{"plain libtorch, fused AdamW", 0, {}, {}},
                                    {"engine, unlimited", 100, {}, {}},
                                    {"engine, 50 %", 50, {}, {}},
                                    {"engine, 25 %", 25, {}, {}},
                                    {"engine, 12 %", 12, {}, {}}};
  for (int round = 0; round < setting.rounds; ++round)
    for (auto& contender : contenders)
      contender.percent == 0 ? run_plain(setting, contender) : run_engine(setting, contender);
  std::cout << report(setting, contenders).dump(2) << "\n";
} catch (const std::exception& error) {
  std::cerr << "bench_step: " << error.what() << "\n";
  return 1;
}
