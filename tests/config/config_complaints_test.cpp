// What reading and validate refuse, and in which words.
#include <cmath>
#include <limits>
#include <string>

#include <catch2/catch.hpp>

#include "complaints.hpp"
#include "runtime/config.hpp"

namespace asterias {
namespace {

std::string read_complaint(const std::string& json) {
  return complaint_of([&] { EngineConfig::from_json(json); });
}

std::string validate_complaint(const EngineConfig& config) {
  return complaint_of([&] { config.validate(); });
}

EngineConfig read(const std::string& json) { return EngineConfig::from_json(json); }

// Reads `json` with every `'` taken for `"`.
EngineConfig read_quoted(std::string json) {
  for (char& c : json)
    if (c == '\'') c = '"';
  return read(json);
}

}  // namespace

CATCH_TEST_CASE("an unknown key names its path and the nearest known key") {
  CATCH_CHECK(read_complaint(R"({"tiers": {"cpu": {"limits": 1}}})") ==
              "tiers.cpu.limits: unknown key; the nearest known one is tiers.cpu.limit");
  CATCH_CHECK(read_complaint(R"({"optimiser": {}})") == "optimiser: unknown key; the nearest known one is optimizer");
  CATCH_CHECK(read_complaint(R"({"optimizer": {"params": {"learn_rate": 1}}})").find("optimizer.params.") !=
              std::string::npos);
  CATCH_CHECK(read_complaint(R"({"optimizer": {"param_groups": [{"match": "*"}, {"match": "*", "lrr": 1}]}})") ==
              "optimizer.param_groups[1].lrr: unknown key; the nearest known one is optimizer.param_groups[1].lr");
  CATCH_CHECK(read_complaint(R"({"tiers.cpu.limit": 1})").starts_with("tiers.cpu.limit: unknown key"));
  CATCH_CHECK(read_complaint(R"({"": {"prefetch": 1}})").starts_with(R"("": unknown key)"));
}

CATCH_TEST_CASE("a key that resembles none is told what there is") {
  CATCH_CHECK(read_complaint(R"({"a": 1})")
                  .starts_with("a: unknown key; known here: device, deterministic, allow_tf32, tiers, "));
  CATCH_CHECK(read_complaint(R"({"placement": {"policy": 1}})") ==
              "placement.policy: unknown key; known here: eviction, activations, grad_mode, early_update, late_update");
}

CATCH_TEST_CASE("a key of another section names where it belongs") {
  CATCH_CHECK(read_complaint(R"({"lr": 1})") == "lr: unknown key; the nearest known one is optimizer.params.lr");
  CATCH_CHECK(read_complaint(R"({"io": {"threads": 1}})") ==
              "io.threads: unknown key; the nearest known one is cpu.threads");
}

CATCH_TEST_CASE("a wrong type says what was found and what is wanted") {
  CATCH_CHECK(read_complaint(R"({"release_after_init": "true"})") ==
              R"(release_after_init: found the string "true", want true or false)");
  CATCH_CHECK(read_complaint(R"({"prefetch": -1})") == "prefetch: found the number -1, want an integer from 0 to 1024");
  CATCH_CHECK(read_complaint(R"({"tiers": 5})") == R"(tiers: found the number 5, want an object, as in {"gpu": ...})");
  CATCH_CHECK(read_complaint(R"({"device": ["cpu"]})").starts_with("device: found a list of 1, want "));
  CATCH_CHECK(read_complaint("[]") == "found a list of 0 at the top, want an object");
  CATCH_CHECK(read_complaint("null") == "found null at the top, want an object");
}

CATCH_TEST_CASE("all complaints come at once, in the order of the text") {
  const auto complaints = complaints_of(
      [] { read(R"({"a": 1, "fp16": {"enabled": 1}, "prefetch": 0.5, "prefetch": 1, "io": {"queue_depth": 0}})"); });
  CATCH_REQUIRE(complaints.size() == 4);
  CATCH_CHECK(complaints[0] == "prefetch: given twice; keep one");
  CATCH_CHECK(complaints[1].starts_with("a: unknown key"));
  CATCH_CHECK(complaints[2].starts_with("fp16.enabled: "));
  CATCH_CHECK(complaints[3].starts_with("io.queue_depth: "));
}

CATCH_TEST_CASE("a repeated key names its path") {
  CATCH_CHECK(read_complaint(R"({"io": {"direct": true, "direct": true}})") == "io.direct: given twice; keep one");
  CATCH_CHECK(
      read_complaint(R"({"optimizer": {"param_groups": [{"match": "a"}, {"match": "a", "lr": 1, "lr": 2}]}})") ==
      "optimizer.param_groups[1].lr: given twice; keep one");
}

CATCH_TEST_CASE("a syntax error is placed by line and column") {
  CATCH_CHECK(
      read_complaint("{\"prefetch\": 1,\n \"device\" \"cpu\"}").starts_with("not valid JSON at line 2, column "));
  CATCH_CHECK(read_complaint("{\n\n  @}").starts_with("not valid JSON at line 3, column 3: syntax error"));
  CATCH_CHECK(read_complaint("").starts_with("not valid JSON at line 1, column 1: "));
  CATCH_CHECK(read_complaint("{} {}").starts_with("not valid JSON at line 1, column 4: "));
  CATCH_CHECK(read_complaint("{\"prefetch\": NaN}").starts_with("not valid JSON at line 1, column "));
  CATCH_CHECK(
      read_complaint("{\n\"prefetch\": 1e999}").starts_with("not valid JSON at line 2, column 17: number overflow"));
}

CATCH_TEST_CASE("comments are allowed, in the words of both kinds") {
  CATCH_CHECK(read("{ // how far\n \"prefetch\": /* not too far */ 3 }").prefetch == 3);
}

CATCH_TEST_CASE("impossible values are refused while reading") {
  const auto json = GENERATE(
      as<std::string>{},  //
      "{'device': 'tpu'}", "{'device': 'cuda:'}", "{'device': 'cuda:x'}", "{'device': 'CPU'}",
      "{'tiers': {'gpu': {'link': {'h2d': -1}}}}", "{'tiers': {'nvme': {'path': ''}}}",
      "{'tiers': {'nvme': {'path': [1]}}}", "{'optimizer': {'type': 'Lion'}}", "{'optimizer': {'params': {'lr': -1}}}",
      "{'optimizer': {'params': {'lr': '0.1'}}}", "{'optimizer': {'params': {'betas': [0.9]}}}",
      "{'optimizer': {'params': {'betas': [0.9, 1]}}}", "{'optimizer': {'params': {'betas': [-0.1, 0.9]}}}",
      "{'optimizer': {'params': {'eps': -1e-8}}}", "{'optimizer': {'params': {'weight_decay': -0.1}}}",
      "{'optimizer': {'params': {'state_dtype': 'int8'}}}", "{'optimizer': {'params': {'momentum': -0.1}}}",
      "{'optimizer': {'params': {'use_hybrid_adam': null}}}", "{'optimizer': {'param_groups': {}}}",
      "{'optimizer': {'param_groups': [1]}}", "{'optimizer': {'param_groups': [{'lr': 1}]}}",
      "{'optimizer': {'param_groups': [{'match': []}]}}", "{'gradient_clipping': -1}", "{'train_batch_size': -1}",
      "{'train_batch_size': 1.5}", "{'bf16': {'enabled': 1}}", "{'fp16': {'enabled': 'auto'}}",
      "{'fp16': {'hysteresis': 0}}", "{'fp16': {'loss_scale': -1}}", "{'fp16': {'min_loss_scale': 0}}",
      "{'fp16': {'initial_scale_power': 128}}", "{'precision': {'keep_fp32': 1}}",
      "{'data_types': {'grad_accum_dtype': 'fp64'}}", "{'placement': {'eviction': 'mru'}}",
      "{'placement': {'activations': 'drop'}}", "{'placement': {'grad_mode': 'own'}}", "{'prefetch': 1025}",
      "{'io': {'engine': 'uring'}}", "{'io': {'block_size': 4095}}", "{'io': {'block_size': 0}}",
      "{'io': {'queue_depth': 0}}", "{'io': {'queue_depth': 1025}}", "{'cpu': {'threads': -1}}",
      "{'default_chunk_size': 0}", "{'default_chunk_size': 1e18}");
  CATCH_CAPTURE(json);
  CATCH_CHECK(complaints_of([&] { read_quoted(json); }).size() == 1);
}

CATCH_TEST_CASE("a learning rate of 0 is possible") {
  CATCH_CHECK(read(R"({"optimizer": {"params": {"lr": 0}}})").optimizer.params.lr == 0.0);
}

CATCH_TEST_CASE("validate checks fields set by hand as if they had been read") {
  EngineConfig config;
  config.optimizer.params.lr = std::nan("");
  CATCH_CHECK(validate_complaint(config) == "optimizer.params.lr: found NaN, want a number, 0 or more, or null");
  config.optimizer.params.lr = std::numeric_limits<double>::infinity();
  config.optimizer.params.betas = std::vector<double>{0.9};
  config.io.block_bytes = 5000;
  config.device = "tpu";
  config.optimizer.param_groups.push_back({});
  CATCH_CHECK(complaints_of([&] { config.validate(); }).size() == 5);
}

CATCH_TEST_CASE("cuda devices read, and validate refuses what is only for others") {
  const auto device = GENERATE(as<std::string>{}, "cuda", "cuda:0", "cuda:12");
  EngineConfig config;
  config.set("device=" + device);
  config.tiers.gpu.limit.share = 0.5;
  CATCH_CHECK_NOTHROW(config.validate());
  config.debug.audit = true;
  CATCH_CHECK(validate_complaint(config).starts_with("debug.audit: "));
  config.debug.audit = false;
  config.tiers.gpu.link.h2d_bytes_per_second = 1;
  CATCH_CHECK(validate_complaint(config).starts_with("tiers.gpu.link: "));
}

CATCH_TEST_CASE("the simulated device needs a capacity in bytes") {
  EngineConfig config;
  config.device = "simulated";
  CATCH_CHECK(validate_complaint(config).starts_with("tiers.gpu.limit: missing"));
  config.tiers.gpu.limit.share = 0.5;
  CATCH_CHECK(validate_complaint(config).starts_with("tiers.gpu.limit: a share"));
  config.tiers.gpu.limit = {.bytes = 1 << 20, .share = {}};
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("a limit of the gpu tier needs an accelerator") {
  EngineConfig config;
  config.device = "cpu";
  config.tiers.gpu.limit.bytes = 1 << 20;
  CATCH_CHECK(validate_complaint(config).find("only with an accelerator or device \"simulated\"") != std::string::npos);
  config.tiers.gpu = {};
  config.tiers.gpu.link.h2d_bytes_per_second = 1;
  CATCH_CHECK(validate_complaint(config).starts_with("tiers.gpu.link: "));
  config.tiers.gpu = {};
  config.tiers.cpu.pinned_limit.share = 0.5;
  CATCH_CHECK(validate_complaint(config).starts_with("tiers.cpu.pinned_limit: works only with an accelerator"));
}

CATCH_TEST_CASE("an NVMe limit needs a path, a path needs no limit") {
  EngineConfig config;
  config.tiers.nvme.limit.bytes = 1 << 20;
  CATCH_CHECK(validate_complaint(config).starts_with("tiers.nvme.path: missing"));
  config.tiers.nvme.paths = {"/tmp"};
  CATCH_CHECK_NOTHROW(config.validate());
  config.tiers.nvme.limit = {};
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("offloaded activations need a tier below the compute tier") {
  EngineConfig config;
  config.placement.activations = ActivationPlacement::kOffload;
  CATCH_CHECK(validate_complaint(config).starts_with("placement.activations: \"offload\" needs a tier below"));
  auto with_drive = config;
  with_drive.tiers.nvme.paths = {"/tmp"};
  CATCH_CHECK_NOTHROW(with_drive.validate());
  config.device = "simulated";
  config.tiers.gpu.limit.bytes = 1 << 20;
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("a limit is bytes or a share, not both") {
  EngineConfig config;
  config.tiers.cpu.limit = {.bytes = 1, .share = 0.5};
  CATCH_CHECK(validate_complaint(config) == "tiers.cpu.limit: both bytes and a share are set; keep one");
  config.tiers.cpu.limit = {};
  config.device = "simulated";
  config.tiers.gpu.limit.bytes = 1 << 20;
  CATCH_CHECK_NOTHROW(config.validate());
  config.tiers.cpu.pinned_limit = {.bytes = 1, .share = 0.5};
  CATCH_CHECK(validate_complaint(config) == "tiers.cpu.pinned_limit: both bytes and a share are set; keep one");
}

CATCH_TEST_CASE("hyper-parameters of the other optimizers are refused") {
  auto config = read(R"({"optimizer": {"type": "Adam", "params": {"momentum": 0.9}}})");
  CATCH_CHECK(validate_complaint(config) ==
              "optimizer.params.momentum: not a parameter of Adam or AdamW; it belongs to SGD");
  config = read(R"({"optimizer": {"type": "SGD", "param_groups": [{"match": "*", "betas": [0, 0]}]}})");
  CATCH_CHECK(validate_complaint(config) ==
              "optimizer.param_groups[0].betas: not a parameter of SGD; it belongs to Adam and AdamW");
}

CATCH_TEST_CASE("a format of state needs state") {
  auto config = read(R"({"optimizer": {"type": "SGD", "params": {"state_dtype": "bf16"}}})");
  CATCH_CHECK(validate_complaint(config) ==
              "optimizer.params.state_dtype: SGD without momentum keeps no state; remove it or set momentum");
  config.optimizer.params.state_dtype = StateDtype::kFp32;
  CATCH_CHECK_NOTHROW(config.validate());
  config = read(R"({"optimizer": {"type": "SGD", "params": {"state_dtype": "8bit", "momentum": 0.9}}})");
  CATCH_CHECK_NOTHROW(config.validate());
  config = read(R"({"optimizer": {"type": "SGD", "params": {"momentum": 0.9},
                    "param_groups": [{"match": "*", "momentum": 0, "state_dtype": "8bit"}]}})");
  CATCH_CHECK(validate_complaint(config).starts_with("optimizer.param_groups[0].state_dtype: SGD without momentum"));
  config = read(R"({"optimizer": {"type": "SGD", "params": {"state_dtype": "8bit"},
                    "param_groups": [{"match": "a", "momentum": 0.9}]}})");
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("nesterov needs momentum and no dampening, inherited or not") {
  EngineConfig config;
  config.optimizer.type = OptimizerType::kSgd;
  config.optimizer.params.nesterov = true;
  CATCH_CHECK(validate_complaint(config).starts_with("optimizer.params.nesterov: needs momentum above 0"));
  config.optimizer.params.momentum = 0.9;
  CATCH_CHECK_NOTHROW(config.validate());
  ParamGroupConfig group;
  group.match = {"*"};
  config.optimizer.param_groups = {group};
  CATCH_CHECK_NOTHROW(config.validate());
  config.optimizer.param_groups[0].params.dampening = 0.5;
  CATCH_CHECK(validate_complaint(config).starts_with("optimizer.param_groups[0].nesterov: needs "));
  config.optimizer.param_groups[0].params.nesterov = false;
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("the smallest loss scale is not above the first, where the scale is dynamic") {
  EngineConfig config;
  config.fp16.initial_scale_power = 2;
  config.fp16.min_loss_scale = 64;
  CATCH_CHECK_NOTHROW(config.validate());
  config.fp16.enabled = true;
  CATCH_CHECK(validate_complaint(config) ==
              "fp16.min_loss_scale: 64.0 is above the first loss scale, 4.0 (fp16.initial_scale_power 2); "
              "lower the one or raise the other");
  config.fp16.min_loss_scale = 4;
  CATCH_CHECK_NOTHROW(config.validate());
  config.fp16.min_loss_scale = 64;
  config.fp16.loss_scale = 8;
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("keep_fp32 needs something that is cast") {
  EngineConfig config;
  config.precision.keep_fp32 = {"*norm*"};
  CATCH_CHECK(validate_complaint(config) ==
              "precision.keep_fp32: nothing is cast that could be kept; enable fp16 or bf16, or remove it");
  config.bf16.enabled = true;
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("fp16 and bf16 exclude each other") {
  EngineConfig config;
  config.fp16.enabled = config.bf16.enabled = true;
  CATCH_CHECK(validate_complaint(config) == "bf16.enabled: both fp16 and bf16 are enabled; keep one");
  config.fp16.enabled = false;
  CATCH_CHECK_NOTHROW(config.validate());
}

CATCH_TEST_CASE("batch sizes must agree") {
  struct Row {
    int batch, micro, steps;
    bool agrees;
  };
  const auto row = GENERATE(values<Row>({{0, 0, 0, true},
                                         {24, 8, 3, true},
                                         {24, 8, 0, true},
                                         {24, 0, 3, true},
                                         {0, 8, 3, true},
                                         {24, 8, 4, false},
                                         {25, 8, 3, false},
                                         {24, 7, 0, false},
                                         {24, 0, 5, false}}));
  CATCH_CAPTURE(row.batch, row.micro, row.steps);
  EngineConfig config;
  config.train_batch_size = row.batch;
  config.train_micro_batch_size_per_gpu = row.micro;
  config.gradient_accumulation_steps = row.steps;
  CATCH_CHECK(complaints_of([&] { config.validate(); }).size() == (row.agrees ? 0 : 1));
}

}  // namespace asterias
