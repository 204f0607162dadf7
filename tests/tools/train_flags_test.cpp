// What the command line, the configuration file and the overrides come to.
#include "tools/train_flags.hpp"

#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "tests/base/temporary_folder.hpp"

namespace asterias::tools {
namespace {

TrainOptions resolved(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--data", "text"});
  TrainFlags flags;
  CLI::App app;
  flags.declare(app, TrainFlags::Purpose::kTrain);
  app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 takes them from the back
  return flags.resolve();
}

CATCH_TEST_CASE("a preset is the model's shape and flags beside it win", "[unit]") {
  const auto plain = resolved({"--preset", "1.3b"});
  CATCH_CHECK(plain.model.layers == 24);
  CATCH_CHECK(plain.model.hidden == 2048);
  CATCH_CHECK(plain.model.heads == 16);
  CATCH_CHECK(plain.model.vocabulary == 50257);
  CATCH_CHECK(plain.model.sequence == ModelOptions{}.sequence);
  for (const bool preset_first : {true, false}) {
    const auto mixed = preset_first ? resolved({"--preset", "1.3b", "--layers", "2", "--vocab", "256"})
                                    : resolved({"--layers", "2", "--vocab", "256", "--preset", "1.3b"});
    CATCH_CHECK(mixed.model.layers == 2);
    CATCH_CHECK(mixed.model.vocabulary == 256);
    CATCH_CHECK(mixed.model.hidden == 2048);
  }
  CATCH_CHECK_THROWS_AS(resolved({"--preset", "1.4b"}), CLI::ValidationError);
  CATCH_CHECK_THROWS_AS(resolved({"--vocab", "255"}), CLI::ValidationError);
}

CATCH_TEST_CASE("a Llama comes by its preset or by --model, with sizes that follow from the others", "[unit]") {
  CATCH_CHECK(resolved({"--preset", "llama-7b"}).model.is_llama());
  CATCH_CHECK_FALSE(resolved({}).model.is_llama());
  const auto small = resolved({"--model", "llama", "--hidden", "384", "--heads", "6"}).model.llama();
  CATCH_CHECK(small ==
              models::LlamaOptions{
                  .vocabulary = 256, .layers = 4, .hidden = 384, .heads = 6, .kv_heads = 6, .intermediate = 1024});
  const auto grouped = resolved(
      {"--model", "llama", "--heads", "8", "--kv-heads", "2", "--intermediate", "100", "--rope-theta", "500000"});
  CATCH_CHECK(grouped.model.llama().kv_heads == 2);
  CATCH_CHECK(grouped.model.llama().intermediate == 100);
  CATCH_CHECK(grouped.model.llama().rope_theta == 500000);
  // What a preset leaves to the others follows the flags, what it states does not.
  const auto narrow = resolved({"--preset", "llama-7b", "--hidden", "1024", "--heads", "8"}).model.llama();
  CATCH_CHECK(narrow.kv_heads == 8);
  CATCH_CHECK(narrow.intermediate == 2816);
  CATCH_CHECK(narrow.vocabulary == 32000);
  const auto newer = resolved({"--preset", "llama-3-8b", "--hidden", "1024", "--heads", "16"}).model.llama();
  CATCH_CHECK(newer.kv_heads == 8);
  CATCH_CHECK(newer.intermediate == 14336);
  const auto as_llama = resolved({"--preset", "125m", "--model", "llama"}).model;
  CATCH_CHECK(as_llama.llama().hidden == 768);
  CATCH_CHECK(as_llama.is_llama());
}

CATCH_TEST_CASE("sizes that a model has not, or that do not go together, are refused", "[unit]") {
  const auto refused = [](const std::vector<std::string>& arguments, const char* words) {
    CATCH_CAPTURE(words);
    CATCH_CHECK_THROWS_WITH(resolved(arguments), Catch::Contains(words));
  };
  for (const char* flag : {"--kv-heads", "--intermediate", "--rope-theta"}) refused({flag, "4"}, "give --model llama");
  refused({"--preset", "llama-7b", "--model", "gpt", "--kv-heads", "4"}, "give --model llama");
  refused({"--model", "llama", "--dropout", "0.1"}, "--dropout is a GPT's");
  refused({"--model", "llama", "--heads", "4", "--kv-heads", "3"}, "--heads 4 is not a multiple of --kv-heads 3");
  refused({"--model", "llama", "--hidden", "12", "--heads", "4"}, "4 heads of width 3");
  refused({"--model", "llama", "--hidden", "100", "--heads", "3"}, "--hidden 100 is not a multiple of --heads 3");
  CATCH_CHECK_THROWS_AS(resolved({"--model", "bert"}), CLI::ValidationError);
  CATCH_CHECK_THROWS_AS(resolved({"--kv-heads", "0"}), CLI::ValidationError);
}

CATCH_TEST_CASE("tokens become whole steps, rounded up", "[unit]") {
  const auto steps = [](const char* tokens) {
    return resolved({"--tokens", tokens, "--batch", "2", "--accumulate", "3", "--seq", "10"}).steps;  // 60 a step
  };
  CATCH_CHECK(steps("1") == 1);
  CATCH_CHECK(steps("60") == 1);
  CATCH_CHECK(steps("61") == 2);
  CATCH_CHECK_THROWS_AS(resolved({"--tokens", "1", "--steps", "1"}), CLI::ExcludesError);
}

CATCH_TEST_CASE("matrices decay, biases and norms do not, unless the file has groups of its own", "[unit]") {
  const auto usual = resolved({}).config.optimizer;
  CATCH_CHECK(usual.params.weight_decay == 0.1);
  CATCH_REQUIRE(usual.param_groups.size() == 1);
  CATCH_CHECK(usual.param_groups[0].match == std::vector<std::string>{"*.bias", "*norm*.weight"});
  CATCH_CHECK(usual.param_groups[0].params.weight_decay == 0.0);
  CATCH_CHECK_FALSE(usual.param_groups[0].params.lr.has_value());

  CATCH_CHECK(resolved({"--weight-decay", "0.02"}).config.optimizer.params.weight_decay == 0.02);
  CATCH_CHECK(resolved({"--weight-decay", "0"}).config.optimizer.param_groups.empty());
  CATCH_CHECK(resolved({"--set", "optimizer.type=Adam"}).config.optimizer.param_groups.empty());  // torch's default: 0

  const tests::TemporaryFolder folder;
  const auto file = folder.add("config.json", R"({"optimizer": {"params": {"weight_decay": 0.3},
    "param_groups": [{"match": ["tokens.*"], "lr": 0.5}]}})");
  const auto own = resolved({"--config", file}).config.optimizer;
  CATCH_CHECK(own.params.weight_decay == 0.3);
  CATCH_REQUIRE(own.param_groups.size() == 1);
  CATCH_CHECK(own.param_groups[0].match == std::vector<std::string>{"tokens.*"});
}

CATCH_TEST_CASE("where activations lie is the flag's word, else the file's, and --set has the last", "[unit]") {
  const auto placement = [](const std::vector<std::string>& arguments) {
    return resolved(arguments).config.placement.activations;
  };
  CATCH_CHECK(placement({}) == ActivationPlacement::kAuto);
  CATCH_CHECK(placement({"--activations", "keep"}) == ActivationPlacement::kKeep);
  CATCH_CHECK(placement({"--activations", "offload", "--nvme-path", "."}) == ActivationPlacement::kOffload);
  CATCH_CHECK(placement({"--activations", "keep", "--set", "placement.activations=auto"}) ==
              ActivationPlacement::kAuto);
  const tests::TemporaryFolder folder;
  const auto file = folder.add("config.json", R"({"placement": {"activations": "keep"}})");
  CATCH_CHECK(placement({"--config", file}) == ActivationPlacement::kKeep);
  CATCH_CHECK(placement({"--config", file, "--activations", "auto"}) == ActivationPlacement::kAuto);
  CATCH_CHECK_THROWS_AS(resolved({"--activations", "drop"}), CLI::ValidationError);
  CATCH_CHECK_THROWS_AS(resolved({"--activations", "offload"}), ConfigError);  // to where?
  CATCH_CHECK_FALSE(resolved({}).recompute);
  CATCH_CHECK(resolved({"--recompute"}).recompute);
}

CATCH_TEST_CASE("where gradients lie is the flag's word, else the file's, and needs what a step can give", "[unit]") {
  const auto mode = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--precision", "bf16"});
    return resolved(arguments).config.placement.grad_mode;
  };
  CATCH_CHECK(mode({}) == GradMode::kSeparate);
  CATCH_CHECK(mode({"--grad-mode", "reuse"}) == GradMode::kReuse);
  CATCH_CHECK(mode({"--grad-mode", "reuse", "--set", "placement.grad_mode=separate"}) == GradMode::kSeparate);
  const tests::TemporaryFolder folder;
  const auto file = folder.add("config.json", R"({"placement": {"grad_mode": "reuse"}})");
  CATCH_CHECK(mode({"--config", file}) == GradMode::kReuse);
  CATCH_CHECK(mode({"--config", file, "--grad-mode", "separate"}) == GradMode::kSeparate);
  CATCH_CHECK_THROWS_AS(mode({"--grad-mode", "share"}), CLI::ValidationError);
  CATCH_CHECK_THROWS_WITH(mode({"--grad-mode", "reuse", "--accumulate", "2"}),
                          Catch::Contains("cannot accumulate over 2 passes"));
}

CATCH_TEST_CASE("betas and clipping go into the configuration", "[unit]") {
  const auto options = resolved({"--betas", "0.9,0.95", "--clip", "0"});
  CATCH_CHECK(options.config.optimizer.params.betas == std::vector<double>{0.9, 0.95});
  CATCH_CHECK(options.config.gradient_clipping == 0.0);
  CATCH_CHECK(resolved({}).config.gradient_clipping == 1.0);
  CATCH_CHECK_THROWS_AS(resolved({"--betas", "0.9,1"}), CLI::ValidationError);
}

CATCH_TEST_CASE("the format of state goes into the configuration", "[unit]") {
  CATCH_CHECK(resolved({"--state-dtype", "8bit"}).config.optimizer.params.state_dtype == StateDtype::k8Bit);
  CATCH_CHECK_FALSE(resolved({}).config.optimizer.params.state_dtype);
  CATCH_CHECK_THROWS_AS(resolved({"--state-dtype", "int8"}), CLI::ValidationError);
}

CATCH_TEST_CASE("the text's end is kept for validation only when somebody validates", "[unit]") {
  CATCH_CHECK(resolved({}).validation.split == 0);
  CATCH_CHECK(resolved({"--val-every", "5"}).validation.split == 0.05);
  CATCH_CHECK(resolved({"--val-every", "5", "--val-split", "0.2"}).validation.split == 0.2);
  CATCH_CHECK(resolved({"--val-split", "0.2"}).validation.every == 0);
  CATCH_CHECK_THROWS_WITH(resolved({"--val-every", "5", "--val-split", "0"}), Catch::Contains("--val-split"));
}

CATCH_TEST_CASE("with logs a warm step is traced, or the ones that were named", "[unit]") {
  using Steps = std::vector<std::int64_t>;
  CATCH_CHECK(resolved({}).trace_steps.empty());
  CATCH_CHECK(resolved({"--log-dir", "logs"}).trace_steps == Steps{3});
  CATCH_CHECK(resolved({"--log-dir", "logs", "--steps", "2"}).trace_steps == Steps{2});
  CATCH_CHECK(resolved({"--log-dir", "logs", "--trace-steps", "10,4"}).trace_steps == Steps{4, 10});
  CATCH_CHECK_THROWS_WITH(resolved({"--trace-steps", "1"}), Catch::Contains("--log-dir"));
  CATCH_CHECK_THROWS_WITH(resolved({"--log-dir", "logs", "--steps", "4", "--trace-steps", "5"}),
                          Catch::Contains("no step 5"));
}

CATCH_TEST_CASE("a schedule that cannot be is refused, with every complaint at once", "[unit]") {
  CATCH_CHECK_THROWS_WITH(resolved({"--steps", "10", "--warmup", "11"}), Catch::Contains("--warmup 11"));
  CATCH_CHECK_THROWS_WITH(resolved({"--min-lr", "1e-4"}), Catch::Contains("--schedule"));
  CATCH_CHECK_THROWS_WITH(resolved({"--schedule", "cosine", "--lr", "1e-3", "--min-lr", "1e-2"}),
                          Catch::Contains("above the learning rate"));
  CATCH_CHECK_NOTHROW(resolved({"--schedule", "cosine", "--steps", "10", "--warmup", "10", "--min-lr", "1e-4"}));
  try {
    resolved({"--steps", "10", "--warmup", "11", "--hidden", "100", "--heads", "3", "--quiet", "--json"});
    CATCH_FAIL("was taken");
  } catch (const ConfigError& error) {
    CATCH_CHECK(error.complaints().size() == 3);
  }
}

CATCH_TEST_CASE("all wrong overrides are told at once, beside what is wrong with other flags", "[unit]") {
  try {
    resolved({"--set", "prefetch=many", "--set", "device=cpu", "--set", "io.queue_depth=0", "--hidden", "100",
              "--heads", "3"});
    CATCH_FAIL("was taken");
  } catch (const ConfigError& error) {
    CATCH_CHECK(error.complaints().size() == 3);
  }
}

CATCH_TEST_CASE("a budget is a size or a share, as the configuration takes it", "[unit]") {
  CATCH_CHECK(resolved({"--cpu-limit", "1.5GiB"}).config.tiers.cpu.limit.bytes == 3u << 29);
  CATCH_CHECK(resolved({"--cpu-limit", "80%"}).config.tiers.cpu.limit.share == 0.8);
  CATCH_CHECK(resolved({"--nvme-limit", "0.5", "--nvme-path", "."}).config.tiers.nvme.limit.share == 0.5);
  for (const char* wrong : {"0", "null", "120%", "much", "-1", "[1]"})
    CATCH_CHECK_THROWS_AS(resolved({"--cpu-limit", wrong}), CLI::ValidationError);
}

CATCH_TEST_CASE("a rate is any finite number from 0 on", "[unit]") {
  CATCH_CHECK(resolved({"--lr", "1e30"}).config.optimizer.params.lr == 1e30);
  for (const char* wrong : {"inf", "nan", "-1", "1e999", ""})
    CATCH_CHECK_THROWS_AS(resolved({"--lr", wrong}), CLI::ValidationError);
}

}  // namespace
}  // namespace asterias::tools
