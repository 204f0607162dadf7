// A model that is larger than DRAM and the compute tier together is built when the drive holds it, with the bits of
// plain construction; what cannot be built is refused with budgets that then work. Each run is a child process.
#include <chrono>

#include <asterias/asterias.h>
#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/process_memory.hpp"
#include "budgets.hpp"
#include "child_job.hpp"

namespace asterias::test {
namespace {

// `layers` of `width` x `width`, of which the first `frozen` do not train. First the constructor fills `tables`
// matrices of the same size and drops them.
struct StackImpl : torch::nn::Module {
  explicit StackImpl(const Json& job) {
    const std::int64_t width = job.value("width", 1024);
    std::vector<torch::Tensor> tables;
    for (int i = 0; i < job.value("tables", 0); ++i) tables.push_back(torch::full({width, width}, i));
    for (int i = 0; i < job.value("layers", 4); ++i) {
      layers.push_back(register_module("layer" + std::to_string(i),
                                       torch::nn::Linear(torch::nn::LinearOptions(width, width).bias(false))));
      layers.back()->weight.requires_grad_(i >= job.value("frozen", 0));
    }
  }
  torch::Tensor forward(torch::Tensor x) {
    for (auto& layer : layers) x = torch::tanh(layer(x));
    return x;
  }
  std::vector<torch::nn::Linear> layers;
};
TORCH_MODULE(Stack);

EngineConfig config_of(const Json& job) {
  EngineConfig config;
  config.device = job.value("device", "cpu");
  if (job.contains("cpu_limit")) config.tiers.cpu.limit.bytes = job["cpu_limit"].get<std::uint64_t>();
  if (job.contains("gpu_limit")) config.tiers.gpu.limit.bytes = job["gpu_limit"].get<std::uint64_t>();
  if (job.contains("nvme_limit")) config.tiers.nvme.limit.bytes = job["nvme_limit"].get<std::uint64_t>();
  if (job.value("nvme", true)) config.tiers.nvme.paths = {swap_folder()};
  config.optimizer.type = OptimizerType::kSgd;
  return config;
}

// Names the generator's state by what it would draw next.
double next_draw() { return torch::rand({1}, torch::kDouble).item<double>(); }

void build_and_train(const Json& job, Json& report) {
  torch::manual_seed(1);
  const auto start = std::chrono::steady_clock::now();
  auto [engine, optimizer] = initialize_engine([&] { return Stack(job); }, config_of(job));
  report["build_seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report["build_peak"] = peak_resident_set_bytes();
  report["next_draw"] = next_draw();
  if (job.value("look", true)) report["fingerprint"] = engine.fingerprint();
  for (int step = 0; step < job.value("steps", 0); ++step) {
    optimizer.zero_grad();
    engine.backward(engine(torch::ones({1, job.value("width", 1024)})).sum());
    optimizer.step();
  }
  report["bytes_written"] = engine.stats().nvme_write_bytes;
  report["done"] = true;
}

void build_plainly(const Json& job, Json& report) {
  torch::manual_seed(1);
  const Stack stack(job);
  report["next_draw"] = next_draw();
  report["fingerprint"] = fingerprint(*stack);
  report["done"] = true;
}

void work(const Json& job, Json& report) {
  job.value("plain", false) ? build_plainly(job, report) : build_and_train(job, report);
}

// Runs a job that must be refused, then what the refusal names, which must work.
void check_refusal_works(Json job) {
  const Json refused = run_child(job);
  CATCH_INFO("first " << job.dump() << "\n  gave " << refused.dump());
  CATCH_REQUIRE(refused.contains("smallest"));
  for (const auto& [tier, bytes] : refused["smallest"].items()) job[tier + "_limit"] = bytes;
  const Json run = run_child(job);
  CATCH_INFO("then " << job.dump() << "\n  gave " << run.dump());
  CATCH_REQUIRE(run.contains("done"));
  if (job.contains("cpu_limit"))
    CATCH_CHECK(run["peak"].get<std::uint64_t>() < job["cpu_limit"].get<std::uint64_t>() + job.value("gpu_limit", 0));
}

}  // namespace

CATCH_TEST_CASE("child", "[.child]") { serve_child(work); }

CATCH_TEST_CASE("a model larger than DRAM and the compute tier together is built on the drive", "[parity]") {
  const Json model = {{"layers", 96}};  // 384 MiB of parameters
  Json plain = model;
  plain["plain"] = true;
  const Json want = run_child(plain);
  CATCH_REQUIRE(want.contains("done"));
  for (const Json& budgets : {Json{{"cpu_limit", 200 * kMiB}},
                              Json{{"device", "simulated"}, {"cpu_limit", 180 * kMiB}, {"gpu_limit", 32 * kMiB}}}) {
    Json job = model;
    job.update(budgets);
    const Json run = run_child(job);
    CATCH_INFO(job.dump() << "\n  gave " << run.dump());
    CATCH_REQUIRE(run.contains("done"));
    CATCH_CHECK(run["fingerprint"] == want["fingerprint"]);
    CATCH_CHECK(run["next_draw"] == want["next_draw"]);
    CATCH_CHECK(run["peak"].get<std::uint64_t>() < 212 * kMiB);
    CATCH_CHECK(run["peak"].get<std::uint64_t>() < want["peak"].get<std::uint64_t>() / 2);
  }
}

CATCH_TEST_CASE("what cannot be built is refused, and what the refusal names works", "[parity]") {
  const Json small_drive = {{"layers", 64}, {"cpu_limit", 180 * kMiB}, {"nvme_limit", 100 * kMiB}, {"steps", 1}};
  check_refusal_works(small_drive);
  // A chunk is filled while the tensors that go into it are still there; frozen parameters leave no room for that
  // later.
  check_refusal_works({{"layers", 33}, {"frozen", 32}, {"nvme", false}, {"cpu_limit", 160 * kMiB}, {"steps", 1}});
  // What the constructor needs for a while is more than what training needs.
  check_refusal_works({{"layers", 2}, {"tables", 48}, {"nvme", false}, {"cpu_limit", 150 * kMiB}, {"steps", 1}});
}

}  // namespace asterias::test
