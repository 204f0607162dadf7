// What is told of a run, validated and sampled in it changes none of its bits; what is trained on does.
#include <set>
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

using Flags = std::vector<std::string>;

Run train_with(Flags flags, const Flags& more) {
  flags.insert(flags.end(), more.begin(), more.end());
  const Run run = train_tiny(flags);
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  return run;
}

// The bytes of the shipped text without the last `share`.
std::string text_without(double share) {
  std::string text = read_file(shipped_text());
  text.resize(text.size() - static_cast<std::size_t>(static_cast<double>(text.size()) * share));
  return text;
}

CATCH_TEST_CASE("validations and samples change no bit of the training and their text is never trained on") {
  const TemporaryFolder folder;
  const Flags job{"--steps", "4", "--lr", "0.01", "--warmup", "2"};
  const std::string plain = train_with(job, {"--val-split", "0.25"}).last_line();
  CATCH_REQUIRE(is_fingerprint(plain));
  const Run watched = train_with(job, {"--val-split", "0.25", "--val-every", "1", "--val-batches", "2",
                                       "--sample-every", "2", "--sample-tokens", "40", "--prompt", "In the beginning"});
  CATCH_CHECK(watched.last_line() == plain);
  CATCH_CHECK(watched.out.find("sample  In the beginning") != std::string::npos);
  // The same training on a file that ends where the validation part begins.
  const std::string shorter = folder.add("shorter.txt", text_without(0.25));
  CATCH_CHECK(train_with(job, {"--data", shorter}).last_line() == plain);
  CATCH_CHECK(train_with(job, {}).last_line() != plain);
}

CATCH_TEST_CASE("no way of telling of a run changes its bits") {
  const TemporaryFolder folder;
  const Flags job{"--steps", "4", "--lr", "0.01"};
  const std::string plain = train_with(job, {}).last_line();
  CATCH_CHECK(train_with(job, {"--quiet"}).out == plain + "\n");
  CATCH_CHECK(train_with(job, {"--log-dir", folder.path() + "/one"}).last_line() == plain);
  CATCH_CHECK(train_with(job, {"--log-dir", folder.path() + "/two", "--trace-steps", "1,3,4"}).last_line() == plain);
  const Run json = train_with(job, {"--json"});
  CATCH_CHECK(plain.ends_with(nlohmann::json::parse(json.last_line()).at("fingerprint").get<std::string>()));
}

CATCH_TEST_CASE("activations offloaded, kept, recomputed, both or neither change no bit, but what a tier holds") {
  const Flags job{"--steps", "3", "--layers", "6", "--device", "simulated", "--gpu-limit", "64MiB", "--json"};
  const auto summary = [&](const Flags& more) { return nlohmann::json::parse(train_with(job, more).last_line()); };
  const auto on_gpu = [](const nlohmann::json& run) {
    return run.at("tiers").at("gpu").at("peak_activation_bytes").get<std::uint64_t>();
  };
  const auto neither = summary({}), kept = summary({"--activations", "keep"});
  const auto offloaded = summary({"--activations", "offload"}), recomputed = summary({"--recompute"});
  const auto both = summary({"--activations", "offload", "--recompute"});
  for (const auto* run : {&kept, &offloaded, &recomputed, &both})
    CATCH_CHECK(run->at("fingerprint") == neither.at("fingerprint"));
  CATCH_CHECK(on_gpu(kept) == on_gpu(neither));
  CATCH_CHECK(on_gpu(offloaded) < on_gpu(neither) * 3 / 4);
  CATCH_CHECK(on_gpu(recomputed) < on_gpu(neither) * 3 / 4);
}

CATCH_TEST_CASE("validation losses are those of the weights as they are, the same text each time") {
  const Flags job{"--steps", "2", "--val-every", "1", "--json"};
  const auto losses = [&](const Flags& more) {
    std::vector<double> all;
    for (const auto& line : train_with(job, more).lines()) {
      const auto event = nlohmann::json::parse(line);
      if (event.at("event") == "validation") all.push_back(event.at("loss"));
    }
    return all;
  };
  const auto frozen = losses({"--lr", "0", "--weight-decay", "0"});
  CATCH_REQUIRE(frozen.size() == 2);
  CATCH_CHECK(frozen[0] == frozen[1]);
  const auto learning = losses({"--lr", "0.01"});
  CATCH_REQUIRE(learning.size() == 2);
  CATCH_CHECK(learning[1] < learning[0]);
}

CATCH_TEST_CASE("the rate goes as scheduled, also for groups with a rate of their own") {
  const TemporaryFolder folder;
  const auto rates = [&](const Flags& flags) {
    std::vector<double> all;
    for (const auto& line : train_with({"--json", "--steps", "4"}, flags).lines()) {
      const auto event = nlohmann::json::parse(line);
      if (event.at("event") == "step") all.push_back(event.at("lr"));
    }
    return all;
  };
  CATCH_CHECK(rates({"--lr", "0.5", "--warmup", "2"}) == std::vector<double>{0.25, 0.5, 0.5, 0.5});
  CATCH_CHECK(rates({"--lr", "0.5", "--warmup", "2", "--schedule", "linear", "--min-lr", "0.25"}) ==
              std::vector<double>{0.25, 0.5, 0.375, 0.25});

  // A group of everything with half the rate is the rate halved; its factor goes with the others'.
  const Flags scheduled{"--steps", "4", "--warmup", "2", "--schedule", "cosine"};
  const auto with_group = [&](double group_rate) {
    std::string groups = R"({"optimizer": {"params": {"weight_decay": 0}, "param_groups": [{"match": ["*"], "lr": )";
    groups += std::to_string(group_rate) + "}]}}";
    const std::string file = folder.add("groups.json", groups);
    return train_with(scheduled, {"--config", file, "--lr", "0.5"}).last_line();
  };
  const std::string halved = train_with(scheduled, {"--weight-decay", "0", "--lr", "0.25"}).last_line();
  CATCH_CHECK(with_group(0.25) == halved);
  CATCH_CHECK(with_group(0.125) != halved);
}

CATCH_TEST_CASE("every precision has its own bits, and the same ones in a budget") {
  const Flags job{"--steps", "3", "--lr", "0.01"};
  const Flags budget{"--device", "simulated", "--gpu-limit", "2MiB"};
  std::set<std::string> fingerprints;
  for (const char* precision : {"fp32", "bf16", "fp16"}) {
    CATCH_CAPTURE(precision);
    Flags flags{"--precision", precision};
    const std::string plain = train_with(job, flags).last_line();
    fingerprints.insert(plain);
    flags.insert(flags.end(), budget.begin(), budget.end());
    CATCH_CHECK(train_with(job, flags).last_line() == plain);
  }
  CATCH_CHECK(fingerprints.size() == 3);
  CATCH_CHECK(train_with(job, {}).last_line() == train_with(job, {"--precision", "fp32"}).last_line());
}

CATCH_TEST_CASE("gradients in their parameters' places change no bit") {
  const Flags job{"--steps", "3", "--lr", "0.01", "--precision", "bf16"};
  const std::string separate = train_with(job, {}).last_line();
  CATCH_CHECK(train_with(job, {"--grad-mode", "reuse"}).last_line() == separate);
  CATCH_CHECK(train_with(job, {"--grad-mode", "reuse", "--device", "simulated", "--gpu-limit", "2MiB"}).last_line() ==
              separate);
}

CATCH_TEST_CASE("every format of state has its own bits, and the same ones in a budget") {
  const Flags job{"--steps", "3", "--lr", "0.01"};
  std::set<std::string> fingerprints;
  for (const char* format : {"fp32", "bf16", "8bit"}) {
    CATCH_CAPTURE(format);
    const std::string plain = train_with(job, {"--state-dtype", format}).last_line();
    fingerprints.insert(plain);
    CATCH_CHECK(
        train_with(job, {"--state-dtype", format, "--device", "simulated", "--gpu-limit", "2MiB"}).last_line() ==
        plain);
  }
  CATCH_CHECK(fingerprints.size() == 3);
  CATCH_CHECK(train_with(job, {}).last_line() == train_with(job, {"--state-dtype", "fp32"}).last_line());
}

CATCH_TEST_CASE("a run whose steps are all skipped is told of it once, also when it is quiet") {
  const auto warned = [](const Flags& more) {
    Flags flags{"--quiet", "--precision", "fp16"};
    flags.insert(flags.end(), more.begin(), more.end());
    const Run run = train_with({}, flags);
    CATCH_CHECK(is_fingerprint(run.last_line()));
    const auto at = run.err.find("fp16: the gradients of ");
    if (at == std::string::npos) return std::string();
    CATCH_CHECK(run.err.find("fp16: the gradients of ", at + 1) == std::string::npos);
    return run.err.substr(at, run.err.find('\n', at) - at);
  };
  CATCH_CHECK(warned({"--steps", "2", "--set", "fp16.loss_scale=1e30"}) ==
              "fp16: the gradients of 2 steps in a row overflowed, at last at loss scale 1e+30, so no weight changed; "
              "lower fp16.loss_scale, or set it to 0, which searches for one");
  CATCH_CHECK(warned({"--steps", "102", "--set", "fp16.loss_scale=1e30"}).find("of 100 steps in a row") !=
              std::string::npos);
  CATCH_CHECK(
      warned({"--steps", "1", "--set", "fp16.initial_scale_power=100"}).ends_with("lower fp16.initial_scale_power"));
  CATCH_CHECK(warned({"--steps", "20", "--set", "fp16.initial_scale_power=28", "--set", "fp16.hysteresis=1"}).empty());
}

CATCH_TEST_CASE("a step that overflows in fp16 is told, and the schedule waits for it") {
  const Flags flags{"--precision", "fp16",
                    "--set",       "fp16.initial_scale_power=28",
                    "--set",       "fp16.hysteresis=1",
                    "--steps",     "20",
                    "--warmup",    "20",
                    "--lr",        "0.2"};
  std::int64_t skipped = 0, done = 0;
  for (const auto& line : train_with({"--json"}, flags).lines()) {
    const auto event = nlohmann::json::parse(line);
    if (event.at("event") == "summary") CATCH_CHECK(event.at("num_skipped") == skipped);
    if (event.at("event") != "step") continue;
    CATCH_CHECK(event.at("lr").get<double>() == Approx(0.01 * static_cast<double>(done + 1)));
    ++(event.at("skipped").get<bool>() ? skipped : done);
  }
  CATCH_REQUIRE(skipped > 0);
  CATCH_REQUIRE(done > 0);
  const Run run = train_with({}, flags);
  CATCH_CHECK(run.out.find("skipped: overflow at loss scale 2.68435e+08") != std::string::npos);
  CATCH_CHECK(run.out.find("; " + std::to_string(skipped) + " of 20 steps skipped for an overflow") !=
              std::string::npos);
}

CATCH_TEST_CASE("decay, betas, clipping and the vocabulary change the training") {
  const Flags job{"--steps", "3", "--lr", "0.01"};
  const std::string plain = train_with(job, {}).last_line();
  for (const Flags& more : {Flags{"--weight-decay", "0"}, Flags{"--betas", "0.9,0.95"}, Flags{"--clip", "0.01"},
                            Flags{"--vocab", "300"}, Flags{"--schedule", "cosine"}})
    CATCH_CHECK(train_with(job, more).last_line() != plain);
  CATCH_CHECK(train_with(job, {"--weight-decay", "0.1", "--betas", "0.9,0.999", "--clip", "1"}).last_line() == plain);
}

}  // namespace
}  // namespace asterias::tests
