// What from_json, from_file, set and to_json accept, and that what is written reads back equal.
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "complaints.hpp"
#include "runtime/config.hpp"

namespace asterias {
namespace {

std::string published() {
  return R"({ "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0, "use_hybrid_adam": true}},
  "fp16": {"enabled": true, "loss_scale": 0, "initial_scale_power": 8, "loss_scale_window": 1000, "hysteresis": 2, "min_loss_scale": 1},
  "default_chunk_size": 67108864, "release_after_init": true, "use_cpu_embedding": false })";
}

EngineConfig with(const std::string& assignment) {
  EngineConfig config;
  config.set(assignment);
  return config;
}

ByteLimit cpu_limit(const std::string& json) {
  return EngineConfig::from_json(R"({"tiers": {"cpu": {"limit": )" + json + "}}}").tiers.cpu.limit;
}

}  // namespace

CATCH_TEST_CASE("an empty object is the default configuration and passes validate") {
  const auto config = EngineConfig::from_json("{}");
  CATCH_CHECK(config.to_json() == EngineConfig{}.to_json());
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("PatrickStar's published configuration loads as it stands and reads back equal") {
  const auto config = EngineConfig::from_json(published());
  CATCH_CHECK_NOTHROW(config.validate());
  CATCH_CHECK(config.optimizer.type == OptimizerType::kAdam);
  CATCH_CHECK(config.optimizer.params.lr == 0.001);
  CATCH_CHECK(config.optimizer.params.betas == std::vector<double>{0.9, 0.999});
  CATCH_CHECK(config.optimizer.params.eps == 1e-6);
  CATCH_CHECK(config.optimizer.params.weight_decay == 0.0);
  CATCH_CHECK(config.fp16.enabled);
  CATCH_CHECK(config.fp16.loss_scale == 0.0);
  CATCH_CHECK(config.fp16.initial_scale_power == 8);
  CATCH_CHECK(config.fp16.loss_scale_window == 1000);
  CATCH_CHECK(config.fp16.hysteresis == 2);
  CATCH_CHECK(config.fp16.min_loss_scale == 1.0);
  CATCH_CHECK(config.default_chunk_elements == 67108864);
  CATCH_CHECK(EngineConfig::from_json(config.to_json()).to_json() == config.to_json());
}

CATCH_TEST_CASE("every field reads and reads back equal") {
  const auto config = EngineConfig::from_json(R"({
    "device": "simulated",
    "tiers": {"gpu": {"limit": "1.5 GiB", "link": {"h2d": "12GB/s", "d2h": 1000}}, "cpu": {"limit": "80%", "pinned_limit": "8GiB"},
              "nvme": {"limit": 0.25, "path": ["/a", "/b"]}},
    "optimizer": {"type": "sgd", "params": {"lr": 0, "weight_decay": 0.1, "momentum": 0.9, "dampening": 0, "nesterov": true},
                  "param_groups": [{"match": "*.bias", "weight_decay": 0}, {"match": ["a", "b?"], "lr": 1, "nesterov": false}]},
    "gradient_clipping": 1, "train_batch_size": 24, "train_micro_batch_size_per_gpu": 8, "gradient_accumulation_steps": 3,
    "fp16": {"enabled": true, "loss_scale": 128, "initial_scale_power": 4, "loss_scale_window": 7, "hysteresis": 3,
             "consecutive_hysteresis": true, "min_loss_scale": 0.5},
    "bf16": {"enabled": false}, "precision": {"keep_fp32": "*norm*"}, "data_types": {"grad_accum_dtype": "FP32"},
    "default_chunk_size": "4KiB", "release_after_init": false, "use_cpu_embedding": true,
    "placement": {"eviction": "lru", "activations": "keep"}, "prefetch": 0,
    "io": {"engine": "threads", "block_size": "64KiB", "queue_depth": 1024, "direct": false}, "cpu": {"threads": 3},
    "debug": {"poison": true, "evict_always": true, "audit": true, "one_piece": true,
              "update_on_gpu": "every_second"}})");
  CATCH_CHECK_NOTHROW(config.validate());
  CATCH_CHECK(config.device == "simulated");
  CATCH_CHECK(config.tiers.gpu.limit.bytes == 3u << 29);
  CATCH_CHECK(config.tiers.gpu.link.h2d_bytes_per_second == 12'000'000'000);
  CATCH_CHECK(config.tiers.gpu.link.d2h_bytes_per_second == 1000);
  CATCH_CHECK(config.tiers.cpu.limit.share == 0.8);
  CATCH_CHECK(config.tiers.cpu.pinned_limit.bytes == std::uint64_t{8} << 30);
  CATCH_CHECK(config.tiers.nvme.limit.share == 0.25);
  CATCH_CHECK(config.tiers.nvme.paths == std::vector<std::string>{"/a", "/b"});
  CATCH_CHECK(config.optimizer.type == OptimizerType::kSgd);
  CATCH_CHECK(config.optimizer.params.nesterov == true);
  CATCH_REQUIRE(config.optimizer.param_groups.size() == 2);
  CATCH_CHECK(config.optimizer.param_groups[0].match == std::vector<std::string>{"*.bias"});
  CATCH_CHECK_FALSE(config.optimizer.param_groups[0].params.lr.has_value());
  CATCH_CHECK(config.optimizer.param_groups[1].params.lr == 1.0);
  CATCH_CHECK(config.gradient_clipping == 1.0);
  CATCH_CHECK(config.train_batch_size == 24);
  CATCH_CHECK(config.fp16.loss_scale == 128);
  CATCH_CHECK(config.fp16.initial_scale_power == 4);
  CATCH_CHECK(config.fp16.loss_scale_window == 7);
  CATCH_CHECK(config.fp16.hysteresis == 3);
  CATCH_CHECK(config.fp16.consecutive_hysteresis);
  CATCH_CHECK(config.fp16.min_loss_scale == 0.5);
  CATCH_CHECK_FALSE(config.bf16.enabled);
  CATCH_CHECK(config.precision.keep_fp32 == std::vector<std::string>{"*norm*"});
  CATCH_CHECK(config.data_types.grad_accum_dtype == GradAccumDtype::kFp32);
  CATCH_CHECK(config.default_chunk_elements == 1024);
  CATCH_CHECK(config.placement.eviction == Eviction::kLru);
  CATCH_CHECK(config.placement.activations == ActivationPlacement::kKeep);
  CATCH_CHECK(config.prefetch == 0);
  CATCH_CHECK(config.io.block_bytes == 65536);
  CATCH_CHECK(config.io.queue_depth == 1024);
  CATCH_CHECK_FALSE(config.io.direct);
  CATCH_CHECK(config.cpu.threads == 3);
  CATCH_CHECK(config.debug.audit);
  CATCH_CHECK(config.debug.one_piece);
  CATCH_CHECK(config.debug.update_on_gpu == UpdateOnGpu::kEverySecond);
  CATCH_CHECK(EngineConfig::from_json(config.to_json()).to_json() == config.to_json());
}

CATCH_TEST_CASE("grad_mode is separate unless reuse is asked for") {
  CATCH_CHECK(EngineConfig().placement.grad_mode == GradMode::kSeparate);
  const auto config = EngineConfig::from_json(R"({"placement": {"grad_mode": "reuse"}, "bf16": {"enabled": true}})");
  CATCH_CHECK_NOTHROW(config.validate());
  CATCH_CHECK(config.placement.grad_mode == GradMode::kReuse);
}

CATCH_TEST_CASE("a limit is bytes when whole, a share when a fraction") {
  CATCH_CHECK(cpu_limit("1").bytes == 1);
  CATCH_CHECK(cpu_limit("1.0").share == 1.0);
  CATCH_CHECK(cpu_limit("1e9").bytes == 1'000'000'000);
  CATCH_CHECK(cpu_limit("0.8").share == 0.8);
  CATCH_CHECK(cpu_limit(R"("0.8")").share == 0.8);
  CATCH_CHECK(cpu_limit(R"("100%")").share == 1.0);
  CATCH_CHECK(cpu_limit(R"("4096")").bytes == 4096);
  CATCH_CHECK(cpu_limit("18446744073709551615").bytes == ~std::uint64_t{0});
  CATCH_CHECK_FALSE(cpu_limit("null").is_set());
}

CATCH_TEST_CASE("impossible limits are refused") {
  const auto json =
      GENERATE(as<std::string>{}, "0", "-1", "1.5", "0.0", "-0.5", "2e19", "18446744073709551616", R"("0%")",
               R"("101%")", R"("-5%")", R"("%")", R"("many")", R"("")", R"("1.5")", "true", "[1]", "{}");
  CATCH_CAPTURE(json);
  CATCH_CHECK(complaint_of([&] { cpu_limit(json); }).starts_with("tiers.cpu.limit: found "));
}

CATCH_TEST_CASE("share and bytes survive being written") {
  const auto json = GENERATE(as<std::string>{}, "1", "1.0", "0.1", "0.30000000000000004", "18446744073709551615");
  EngineConfig config;
  config.set("tiers.cpu.limit=" + json);
  const auto again = EngineConfig::from_json(config.to_json());
  CATCH_CHECK(again.tiers.cpu.limit.bytes == config.tiers.cpu.limit.bytes);
  CATCH_CHECK(again.tiers.cpu.limit.share == config.tiers.cpu.limit.share);
}

CATCH_TEST_CASE("a chunk size counts elements, or bytes with a suffix") {
  CATCH_CHECK(with("default_chunk_size=128").default_chunk_elements == 128);
  CATCH_CHECK(with("default_chunk_size=5e8").default_chunk_elements == 500'000'000);
  CATCH_CHECK(with("default_chunk_size=512B").default_chunk_elements == 128);
  CATCH_CHECK(with("default_chunk_size=64M").default_chunk_elements == 16 * 1024 * 1024);
  CATCH_CHECK(complaint_of([] { with("default_chunk_size=127"); }).find("128 to 2^40 elements") != std::string::npos);
  CATCH_CHECK(complaints_of([] { with("default_chunk_size=1001B"); }).size() == 1);
}

CATCH_TEST_CASE("an override's value is JSON where it is JSON, else a string") {
  CATCH_CHECK(with("tiers.cpu.limit=1GiB").tiers.cpu.limit.bytes == 1u << 30);
  CATCH_CHECK(with("tiers.cpu.limit=80%").tiers.cpu.limit.share == 0.8);
  CATCH_CHECK(with(R"(device="cpu")").device == "cpu");
  CATCH_CHECK(with("device=cpu").device == "cpu");
  CATCH_CHECK(with("optimizer.type=ADAMW").optimizer.type == OptimizerType::kAdamW);
  CATCH_CHECK(with("tiers.nvme.path=/mnt/a=b").tiers.nvme.paths == std::vector<std::string>{"/mnt/a=b"});
  CATCH_CHECK(with(R"(tiers.nvme={"path": "/a", "limit": 0.5})").tiers.nvme.limit.share == 0.5);
  CATCH_CHECK(with(R"(optimizer.param_groups=[{"match": "*", "lr": 1}])").optimizer.param_groups.size() == 1);
}

CATCH_TEST_CASE("an override replaces what was set and leaves the rest") {
  auto config =
      EngineConfig::from_json(R"({"optimizer": {"params": {"lr": 1, "eps": 0}}, "tiers": {"cpu": {"limit": 0.5}}})");
  config.set("optimizer.params.lr=null");
  config.set("tiers.cpu.limit=4096");
  CATCH_CHECK_FALSE(config.optimizer.params.lr.has_value());
  CATCH_CHECK(config.optimizer.params.eps == 0.0);
  CATCH_CHECK(config.tiers.cpu.limit.bytes == 4096);
  CATCH_CHECK_FALSE(config.tiers.cpu.limit.share.has_value());
}

CATCH_TEST_CASE("a refused override changes nothing") {
  EngineConfig config;
  CATCH_CHECK(complaints_of([&] { config.set(R"(io={"queue_depth": 4, "direct": 7})"); }).size() == 1);
  CATCH_CHECK(config.to_json() == EngineConfig{}.to_json());
}

CATCH_TEST_CASE("malformed overrides are refused") {
  const auto text = GENERATE(as<std::string>{}, "", "=", "=1", "device", "..=1", "device=", R"(device="cpu)",
                             R"(io={"direct": true)", R"(tiers.nvme.path=["/a")", "prefetch=four");
  CATCH_CAPTURE(text);
  CATCH_CHECK(complaints_of([&] { with(text); }).size() == 1);
}

CATCH_TEST_CASE("a damaged text loads and reads back equal, or is a ConfigError, and nothing else") {
  EngineConfig full = EngineConfig::from_json(published());
  for (const char* assignment : {"device=simulated", "tiers.gpu.limit=0.5", "tiers.nvme.path=/a", "gradient_clipping=1",
                                 R"(optimizer.param_groups=[{"match": ["*.bias"], "lr": 0.1}])"})
    full.set(assignment);
  const std::string text = full.to_json();
  std::minstd_rand random(1);
  const std::string alphabet = "0123456789.-+eE\"\\{}[],:/* \ntfnulaz\x01\xff";
  int num_loaded = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = text;
    damaged[random() % damaged.size()] = alphabet[random() % alphabet.size()];
    CATCH_CAPTURE(damaged);
    std::string written;
    if (!complaints_of([&] { written = EngineConfig::from_json(damaged).to_json(); }).empty()) continue;
    ++num_loaded;
    CATCH_CHECK(EngineConfig::from_json(written).to_json() == written);
  }
  CATCH_CHECK(num_loaded > 50);
  CATCH_CHECK(num_loaded < 1900);
}

CATCH_TEST_CASE("a file is read, and its complaints name it") {
  const std::string path = "config_file_" + std::to_string(::getpid()) + ".json";
  std::ofstream(path) << "{\"prefetch\": 7} // ahead\n";
  CATCH_CHECK(EngineConfig::from_file(path).prefetch == 7);
  std::ofstream(path) << "{\"prefetch\": -7, \"devise\": 1}";
  const auto complaints = complaints_of([&] { EngineConfig::from_file(path); });
  CATCH_REQUIRE(complaints.size() == 2);
  CATCH_CHECK(complaints[1] == path + ": devise: unknown key; the nearest known one is device");
  ::unlink(path.c_str());
}

CATCH_TEST_CASE("a file that cannot be read is a complaint") {
  CATCH_CHECK(complaint_of([] { EngineConfig::from_file("/no/such.json"); }) ==
              "cannot read /no/such.json: No such file or directory");
  CATCH_CHECK(complaint_of([] { EngineConfig::from_file("/"); }) == "cannot read /: Is a directory");
}

}  // namespace asterias
