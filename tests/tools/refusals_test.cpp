// Bad input: one clear message on stderr, nothing that looks like a result on stdout, and the documented exit code.
#include <filesystem>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "tests/tools/started_program.hpp"

namespace asterias::tests {
namespace {

void check_refusal(const Run& run, int exit_code, const std::string& words) {
  CATCH_INFO(run.err);
  CATCH_CHECK(run.exit_code == exit_code);
  CATCH_CHECK(run.says(words));
  CATCH_CHECK(run.err.starts_with("asterias: "));
  CATCH_CHECK_FALSE(run.says("frame #"));  // of a C++ backtrace
  CATCH_CHECK(run.out.find("fingerprint") == std::string::npos);
}

CATCH_TEST_CASE("wrong flags are usage errors that name the flag") {
  check_refusal(start_asterias({}), 2, "subcommand is required");
  check_refusal(start_asterias({"fly"}), 2, "fly");
  check_refusal(start_asterias({"train"}), 2, "--data");
  check_refusal(train_tiny({"--step", "1"}), 2, "--step");
  check_refusal(train_tiny({"--layrs", "1"}), 2, "'--layrs' is no flag or subcommand here; did you mean --layers?");
  CATCH_CHECK_FALSE(train_tiny({"--x", "1"}).says("did you mean"));
  check_refusal(train_tiny({"--steps", "0"}), 2, "--steps");
  check_refusal(train_tiny({"--steps", "1.5"}), 2, "--steps");
  check_refusal(train_tiny({"--steps", "99999999999999999999"}), 2, "--steps");
  check_refusal(train_tiny({"--lr", "nan"}), 2, "--lr");
  check_refusal(train_tiny({"--lr", "-1"}), 2, "--lr");
  check_refusal(train_tiny({"--seed", "one"}), 2, "--seed");
  check_refusal(train_tiny({"--cpu-limit", "much"}), 2, "--cpu-limit");
  check_refusal(train_tiny({"--cpu-limit", "0"}), 2, "--cpu-limit");
  check_refusal(train_tiny({"--set"}), 2, "--set");
  check_refusal(train_tiny({"--preset", "1t"}), 2, "125m");
  check_refusal(train_tiny({"--schedule", "cosin"}), 2, "cosine");
  check_refusal(train_tiny({"--val-split", "1"}), 2, "--val-split");
  check_refusal(train_tiny({"--betas", "0.9"}), 2, "--betas");
  check_refusal(train_tiny({"--prompt", ""}), 2, "--prompt");
  check_refusal(train_tiny({"--quiet", "--json"}), 2, "exclude");
  check_refusal(start_asterias({"train", "--data", shipped_text(), "--hidden", "100", "--heads", "3"}), 2,
                "multiple of --heads");
  check_refusal(start_asterias({"train", "--data", shipped_text(), "--dropout", "1"}), 2, "--dropout");
}

CATCH_TEST_CASE("wrong configurations are refused with every complaint") {
  const TemporaryFolder folder;
  check_refusal(train_tiny({"--config", folder.path() + "/none.json"}), 2, "none.json");
  check_refusal(train_tiny({"--config", folder.add("bad.json", "{\"device\": ")}), 2, "configuration");
  const Run two = train_tiny({"--config", folder.add("two.json", R"({"devise": "cpu", "prefetch": "many"})")});
  check_refusal(two, 2, "devise");
  CATCH_CHECK(two.says("prefetch"));
  check_refusal(train_tiny({"--set", "tiers.cpu.limt=1GiB"}), 2, "limit");
  check_refusal(train_tiny({"--device", "toaster"}), 2, "toaster");
  check_refusal(train_tiny({"--device", "simulated"}), 2, "tiers.gpu.limit");
  check_refusal(train_tiny({"--gpu-limit", "1GiB"}), 2, "tiers.gpu.limit");
  check_refusal(train_tiny({"--nvme-limit", "1GiB"}), 2, "tiers.nvme.path");
  check_refusal(train_tiny({"--nvme-path", folder.path() + "/none"}), 2, "none");
  check_refusal(train_tiny({"--nvme-path", "/proc"}), 2, "/proc");  // no file can be made there, by nobody
  check_refusal(train_tiny({"--accumulate", "3", "--set", "train_batch_size=7"}), 2, "train_batch_size");
}

CATCH_TEST_CASE("data that cannot be trained on is refused") {
  const TemporaryFolder folder;
  const auto with_data = [](const std::string& path) {
    return start_asterias({"train", "--data", path, "--seq", "16", "--steps", "1"});
  };
  check_refusal(with_data(folder.path() + "/none.txt"), 2, "No such file");
  check_refusal(with_data(folder.path()), 2, "not a regular file");
  check_refusal(with_data(folder.add("empty.txt", "")), 2, "empty");
  check_refusal(with_data(folder.add("short.txt", std::string(16, 'x'))), 2, "at least 17");
  check_refusal(train_tiny({"--data", folder.add("hundred.txt", std::string(100, 'x')), "--val-split", "0.1"}), 2,
                "--val-split gives validation 10 bytes");
  CATCH_CHECK(with_data(folder.add("just.txt", std::string(17, 'x'))).exit_code == 0);
}

CATCH_TEST_CASE("logs that cannot be written end the run as I/O errors, a folder that cannot be made as usage") {
  const TemporaryFolder folder;
  check_refusal(train_tiny({"--steps", "1", "--log-dir", folder.add("file", "x") + "/logs"}), 2, "log folder");
  std::filesystem::create_directories(folder.path() + "/taken/steps.jsonl");
  check_refusal(train_tiny({"--steps", "1", "--log-dir", folder.path() + "/taken"}), 4, "steps.jsonl");
  std::filesystem::create_directories(folder.path() + "/full");
  std::filesystem::create_symlink("/dev/full", folder.path() + "/full/steps.jsonl");
  check_refusal(train_tiny({"--steps", "1", "--log-dir", folder.path() + "/full"}), 4, "No space left");
}

}  // namespace
}  // namespace asterias::tests
