// What is told of a run, validated and sampled in it changes none of its bits; what is trained on does.
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
