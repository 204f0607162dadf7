// `asterias train` and `asterias plan` on a Llama: all that is promised of a GPT.
#include <string>
#include <vector>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/tools/started_program.hpp"
#include "tools/header_text.hpp"
#include "tools/model_presets.hpp"

namespace asterias::tests {
namespace {

using Flags = std::vector<std::string>;

Flags tiny_llama(const Flags& more) {
  Flags flags{"--model", "llama", "--heads", "4", "--kv-heads", "2", "--dropout", "0", "--steps", "3", "--lr", "0.01"};
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

Run train_llama(const Flags& more) {
  const Run run = train_tiny(tiny_llama(more));
  CATCH_INFO(run.err);
  CATCH_REQUIRE(run.exit_code == 0);
  return run;
}

std::string fingerprint_of(const Flags& more) {
  const std::string line = train_llama(more).last_line();
  CATCH_REQUIRE(is_fingerprint(line));
  return line;
}

bool prints(const Run& run, const std::string& words) { return run.out.find(words) != std::string::npos; }

CATCH_TEST_CASE("a Llama is told by its sizes, and learns") {
  const Run run = train_llama({"--rope-theta", "500000", "--vocab", "300"});
  CATCH_CHECK(prints(run,
                     "Llama, 2 layers, hidden 64, 4 heads, 2 of keys and values, inner width 256, theta 500000, "
                     "sequences of 32, 300 tokens"));
  const auto summary = nlohmann::json::parse(train_llama({"--steps", "20", "--warmup", "5", "--json"}).last_line());
  CATCH_CHECK(summary.at("last_loss").get<double>() < summary.at("first_loss").get<double>() - 1);
}

CATCH_TEST_CASE("budgets, recomputing, offloading, validations and samples change no bit of a Llama") {
  const std::string plain = fingerprint_of({});
  const TemporaryFolder swap;
  for (const Flags& more :
       {Flags{"--recompute"}, Flags{"--device", "simulated", "--gpu-limit", "2MiB"},
        Flags{"--device", "simulated", "--gpu-limit", "2MiB", "--recompute", "--nvme-path", swap.path()},
        Flags{"--activations", "offload", "--nvme-path", swap.path()}})
    CATCH_CHECK(fingerprint_of(more) == plain);
  CATCH_CHECK(swap.names().empty());
  const std::string split = fingerprint_of({"--val-split", "0.25"});
  const Run watched = train_llama({"--val-split", "0.25", "--val-every", "1", "--val-batches", "2", "--sample-every",
                                   "2", "--sample-tokens", "40", "--prompt", "In the beginning"});
  CATCH_CHECK(watched.last_line() == split);
  CATCH_CHECK(prints(watched, "sample  In the beginning"));
}

CATCH_TEST_CASE("every precision of a Llama has its own bits, and the same ones in a budget") {
  const std::string single = fingerprint_of({});
  for (const char* precision : {"bf16", "fp16"}) {
    CATCH_CAPTURE(precision);
    const std::string half = fingerprint_of({"--precision", precision});
    CATCH_CHECK(half != single);
    CATCH_CHECK(fingerprint_of(
                    {"--precision", precision, "--recompute", "--device", "simulated", "--gpu-limit", "2MiB"}) == half);
  }
}

CATCH_TEST_CASE("each size of a Llama changes the training") {
  const std::string plain = fingerprint_of({});
  for (const Flags& more : {Flags{"--kv-heads", "4"}, Flags{"--intermediate", "192"}, Flags{"--rope-theta", "500"}})
    CATCH_CHECK(fingerprint_of(more) != plain);
  CATCH_CHECK(fingerprint_of({"--intermediate", "256", "--rope-theta", "10000"}) == plain);
}

CATCH_TEST_CASE("a preset's Llama is told by its name while its sizes are the preset's", "[unit]") {
  tools::TrainOptions options;
  options.preset = "llama-7b";
  options.model = tools::find_preset(options.preset).value();
  options.model.sequence = 2048;
  CATCH_CHECK(model_text(options) ==
              "Llama 7b, 32 layers, hidden 4096, 32 heads, inner width 11008, sequences of 2048, 32000 tokens");
  options.model.layers = 8;
  CATCH_CHECK(model_text(options).starts_with("Llama, 8 layers"));
  options.model.layers = 32;
  options.model.kind = tools::ModelKind::kGpt;
  CATCH_CHECK(model_text(options).starts_with("GPT, 32 layers"));
  options.preset = "llama-3-8b";
  options.model = tools::find_preset(options.preset).value();
  CATCH_CHECK(model_text(options).starts_with(
      "Llama 3-8b, 32 layers, hidden 4096, 32 heads, 8 of keys and values, inner width 14336, theta 500000, "));
}

CATCH_TEST_CASE("a preset of a Llama with sizes of one's own is planned, and a dropout refused") {
  const Flags flags{"plan",  "--data",  shipped_text(), "--preset",  "llama-7b", "--layers", "1",
                    "--seq", "8",       "--batch",      "1",         "--hidden", "64",       "--heads",
                    "2",     "--vocab", "256",          "--threads", "1"};
  const Run plan = start_asterias(flags);
  CATCH_INFO(plan.err);
  CATCH_CHECK(plan.exit_code == 0);
  CATCH_CHECK(prints(plan, "Llama, 1 layer, hidden 64, 2 heads, inner width 256, sequences of 8"));
  const Run refused = train_tiny({"--model", "llama"});  // with its dropout
  CATCH_CHECK(refused.exit_code == 2);
  CATCH_CHECK(refused.says("--dropout is a GPT's"));
}

}  // namespace
}  // namespace asterias::tests
