// Whatever bytes a reader is given, it reads them or complains: no crash, no other exception, no hang, no allocation
// out of proportion.
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <stdexcept>

#include <catch2/catch.hpp>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "device/swap_file_header.hpp"
#include "runtime/config.hpp"
#include "tests/base/temporary_folder.hpp"
#include "tests/fuzz/fuzz_loop.hpp"
#include "tools/text_windows.hpp"

#if defined(__SANITIZE_ADDRESS__)
// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizer's name for it
extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=256"; }
#endif

namespace asterias::fuzz {
namespace {

void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

std::string documented(const std::string& name) {
  std::ifstream file(std::string(std::getenv("ASTERIAS_SOURCE_DIR")) + "/docs/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The blocks between ```json and ```.
std::vector<std::string> json_blocks(const std::string& page) {
  const std::string opening = "```json\n", closing = "```";
  std::vector<std::string> blocks;
  for (auto at = page.find(opening); at != std::string::npos; at = page.find(opening, at)) {
    at += opening.size();
    blocks.push_back(page.substr(at, page.find(closing, at) - at));
  }
  return blocks;
}

// What PatrickStar published.
constexpr const char* kPublished =
    R"({ "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0,
    "use_hybrid_adam": true}}, "fp16": {"enabled": true, "loss_scale": 0, "initial_scale_power": 8,
    "loss_scale_window": 1000, "hysteresis": 2, "min_loss_scale": 1},
    "default_chunk_size": 67108864, "release_after_init": true, "use_cpu_embedding": false })";

// Each cell in backticks of the tables in docs/config.md: keys, defaults, words.
std::vector<std::string> documented_words() {
  std::vector<std::string> words{"{",
                                 "}",
                                 "[",
                                 "]",
                                 ":",
                                 ",",
                                 "\"",
                                 "\\u0000",
                                 "\\ud800",
                                 "//",
                                 "/*",
                                 "*/",
                                 "null",
                                 "NaN",
                                 "1e309",
                                 "-0",
                                 "-1",
                                 "1e-400",
                                 "0.1",
                                 "%",
                                 "\"8E\"",
                                 "GiB",
                                 "MB/s",
                                 "true",
                                 "false",
                                 "=",
                                 ".",
                                 "18446744073709551616",
                                 "9223372036854775807",
                                 "-9223372036854775808",
                                 "\xff",
                                 "\xef\xbb\xbf"};
  const std::string page = documented("config.md");
  for (auto at = page.find('`'); at != std::string::npos; at = page.find('`', at + 1)) {
    const auto end = page.find('`', at + 1);
    if (end == std::string::npos) break;
    if (end - at > 1 && end - at < 40) words.push_back(page.substr(at + 1, end - at - 1));
    at = end;
  }
  return words;
}

void read_config(const std::string& text) {
  const EngineConfig config = EngineConfig::from_json(text);
  const std::string written = config.to_json();
  require(EngineConfig::from_json(written).to_json() == written, "what was written reads back otherwise");
  config.validate();
}

// One override a line, on top of one another, as a command line has them.
void set_overrides(const std::string& text) {
  EngineConfig config;
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    const std::string before = config.to_json();
    try {
      config.set(text.substr(at, end - at));
    } catch (const ConfigError&) {
      require(config.to_json() == before, "a refused override has changed something");
    }
    at = end + 1;
  }
  require(EngineConfig::from_json(config.to_json()).to_json() == config.to_json(), "overrides read back otherwise");
  config.validate();
}

void read_size(const std::string& text) {
  const auto bytes = parse_bytes(text);
  if (!bytes) return;
  const auto again = parse_bytes(format_bytes(*bytes));
  require(again.has_value() || *bytes > std::numeric_limits<std::uint64_t>::max() / 2,
          "a size that was written is none");
}

void read_header(const std::string& text) {
  const auto header = device::parse_swap_file_header(std::as_bytes(std::span(text)));
  if (header) require(std::strlen(header->host.data()) < header->host.size(), "a host's name has no end");
}

std::string own_header() {
  const auto header = device::own_swap_file_header();
  std::string bytes(sizeof header, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

// Takes a number off the front of an input.
std::int64_t take_number(std::string& input) {
  std::int64_t number = 0;
  const auto count = std::min(input.size(), sizeof number);
  std::memcpy(&number, input.data(), count);
  input.erase(0, count);
  return number;
}

// A sequence length, a seed, a length to which the file is cut after it was opened, and the file's bytes.
void read_text(const std::string& folder, std::string input) {
  const std::int64_t sequence = std::max<std::int64_t>(1, take_number(input)), seed = take_number(input);
  const auto cut = static_cast<std::uint64_t>(take_number(input));
  const std::string path = folder + "/text";
  std::ofstream(path, std::ios::binary | std::ios::trunc) << input;
  const tools::ByteText text(path);
  require(text.num_bytes() == input.size(), "the file has another size");
  const auto split = tools::split_text(text, static_cast<double>(seed & 7) / 8, sequence);
  require(split.training.end == split.validation.begin, "the parts overlap or leave a gap");
  if (cut < input.size()) std::filesystem::resize_file(path, cut);
  std::vector<std::int64_t> inputs(static_cast<std::size_t>(sequence) * 3), targets(inputs.size());
  tools::RandomWindows windows(text, split.training, sequence, static_cast<std::uint64_t>(seed));
  windows.next_batch({inputs, targets});
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    require(inputs[i] >= 0 && inputs[i] < 256, "a token is no byte");
    if ((i + 1) % static_cast<std::size_t>(sequence) != 0)
      require(targets[i] == inputs[i + 1], "a target is not the next input");
  }
}

std::string text_input(std::int64_t sequence, std::int64_t cut, const std::string& bytes) {
  std::string input(3 * sizeof sequence, '\0');
  std::memcpy(input.data(), &sequence, sizeof sequence);
  std::memcpy(input.data() + 2 * sizeof cut, &cut, sizeof cut);
  return input + bytes;
}

}  // namespace

CATCH_TEST_CASE("fuzz: the text of a configuration", "[fuzz]") {
  Target target{"configuration", read_config, json_blocks(documented("config.md")), documented_words(), 4096, 4000};
  CATCH_REQUIRE(!target.seeds.empty());
  target.seeds.insert(target.seeds.end(), {"", "{}", kPublished, EngineConfig().to_json()});
  run(target);
}

CATCH_TEST_CASE("fuzz: overrides of a configuration", "[fuzz]") {
  run({"overrides",
       set_overrides,
       {"prefetch=4\ntiers.cpu.limit=1GiB", "optimizer.param_groups=[{\"match\": \"*.bias\", \"weight_decay\": 0}]",
        "optimizer.type=SGD\noptimizer.params.momentum=0.9", "device=\"simulated\"\ntiers.gpu.limit=50%", "=", "a=b=c"},
       documented_words(),
       256,
       1000});
}

CATCH_TEST_CASE("fuzz: sizes", "[fuzz]") {
  run({"sizes",
       read_size,
       {"8GiB", "1.5 GB", " 0.5 kib ", "18446744073709551615", "0.29 KB", "512M"},
       {"KiB", "MB", "g", ".", "00000000", "18446744073709551616", "9", " ", "-", "e5"},
       128,
       20000});
}

CATCH_TEST_CASE("fuzz: the header of a swap file", "[fuzz]") {
  run({"header", read_header, {own_header(), std::string(4096, '\0')}, {"ASTERIAS SWAP"}, 5000, 20000});
}

CATCH_TEST_CASE("fuzz: a text to train on", "[fuzz]") {
  const asterias::tests::TemporaryFolder folder;
  run({"text",
       [&](const std::string& input) { read_text(folder.path(), input); },
       {text_input(4, -1, "In the beginning God created the heaven and the earth."), text_input(8, 5, "123456789"),
        text_input(1, -1, "ab"), text_input(std::numeric_limits<std::int64_t>::max(), -1, "abc"), ""},
       {std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8), std::string(8, '\0'), "God"},
       300,
       1000});
}

// A failing test once: the name of each level's place was kept for each level, which took all memory there was.
CATCH_TEST_CASE("fuzz: a configuration nested a million levels deep is refused", "[fuzz]") {
  constexpr int kLevels = 1'000'000;
  for (const std::string opening : {"[", "{\"a\":", "{\"tiers\":"}) {
    std::string text = "{\"prefetch\": ", closings;
    for (int i = 0; i < kLevels; ++i) text += opening;
    for (int i = 0; i < kLevels; ++i) closings += opening == "[" ? "]" : "}";
    for (const std::string& tail : {std::string("1") + closings + "}", std::string()}) {
      CATCH_CHECK_THROWS_AS(EngineConfig::from_json(text + tail), ConfigError);
      EngineConfig config;
      CATCH_CHECK_THROWS_AS(config.set("prefetch=" + text.substr(13) + tail.substr(0, tail.size() - !tail.empty())),
                            ConfigError);
    }
  }
}

}  // namespace asterias::fuzz
