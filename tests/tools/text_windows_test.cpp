// Which bytes training and validation see.
#include "tools/text_windows.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "tests/base/temporary_folder.hpp"

namespace asterias::tools {
namespace {

constexpr std::int64_t kSequence = 4;
using Tokens = std::vector<std::int64_t>;

// Bytes whose value is their position.
std::string counting_text(int size) {
  std::string text;
  for (int i = 0; i < size; ++i) text += static_cast<char>(i);
  return text;
}

struct Batch {
  explicit Batch(std::size_t rows) : inputs(rows * kSequence), targets(rows * kSequence) {}
  BatchSpans spans() { return {inputs, targets}; }
  Tokens inputs, targets;
};

CATCH_TEST_CASE("the split is by position and no window crosses it", "[unit]") {
  const tests::TemporaryFolder folder;
  const ByteText text(folder.add("text", counting_text(100)));
  const auto split = split_text(text, 0.25, kSequence);
  CATCH_CHECK(split.training.begin == 0);
  CATCH_CHECK(split.training.end == 75);
  CATCH_CHECK(split.validation.begin == 75);
  CATCH_CHECK(split.validation.end == 100);

  RandomWindows training(text, split.training, kSequence, 1);
  Batch batch(1000);  // of 71 windows: each comes up
  training.next_batch(batch.spans());
  CATCH_CHECK(*std::min_element(batch.inputs.begin(), batch.inputs.end()) == 0);
  CATCH_CHECK(*std::max_element(batch.targets.begin(), batch.targets.end()) == 74);

  EvenWindows validation(text, split.validation, kSequence, 21);  // all there are
  Batch all(21);
  validation.batch_at(0, all.spans());
  CATCH_CHECK(*std::min_element(all.inputs.begin(), all.inputs.end()) == 75);
  CATCH_CHECK(*std::max_element(all.targets.begin(), all.targets.end()) == 99);
}

CATCH_TEST_CASE("targets are the inputs one byte further on", "[unit]") {
  const tests::TemporaryFolder folder;
  const ByteText text(folder.add("text", counting_text(50)));
  RandomWindows windows(text, {0, 50}, kSequence, 7);
  Batch batch(8);
  windows.next_batch(batch.spans());
  for (std::size_t i = 0; i < batch.inputs.size(); ++i) {
    CATCH_CHECK(batch.targets[i] == batch.inputs[i] + 1);
    if (i % kSequence != 0) CATCH_CHECK(batch.inputs[i] == batch.inputs[i - 1] + 1);
  }
}

CATCH_TEST_CASE("the same seed draws the same windows and another one others", "[unit]") {
  const tests::TemporaryFolder folder;
  const ByteText text(folder.add("text", counting_text(200)));
  const auto drawn = [&](std::uint64_t seed) {
    RandomWindows windows(text, {0, 200}, kSequence, seed);
    Batch batch(16);
    windows.next_batch(batch.spans());
    windows.next_batch(batch.spans());
    return batch.inputs;
  };
  CATCH_CHECK(drawn(1) == drawn(1));
  CATCH_CHECK(drawn(1) != drawn(2));
}

CATCH_TEST_CASE("even windows are the same each time and go over the whole part", "[unit]") {
  const tests::TemporaryFolder folder;
  const ByteText text(folder.add("text", counting_text(84)));
  EvenWindows windows(text, {0, 84}, kSequence, 4);
  Batch first(2), second(2), again(2);
  windows.batch_at(0, first.spans());
  windows.batch_at(2, second.spans());
  windows.batch_at(0, again.spans());
  CATCH_CHECK(first.inputs == Tokens{0, 1, 2, 3, 20, 21, 22, 23});
  CATCH_CHECK(second.inputs == Tokens{40, 41, 42, 43, 60, 61, 62, 63});
  CATCH_CHECK(again.inputs == first.inputs);
}

CATCH_TEST_CASE("even windows overlap where the part is short", "[unit]") {
  const tests::TemporaryFolder folder;
  const ByteText text(folder.add("text", counting_text(5)));
  EvenWindows windows(text, {0, 5}, kSequence, 3);
  Batch batch(3);
  windows.batch_at(0, batch.spans());
  CATCH_CHECK(batch.inputs == Tokens{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3});
}

CATCH_TEST_CASE("a part that is shorter than one window is refused by its name", "[unit]") {
  const tests::TemporaryFolder folder;
  const ByteText text(folder.add("text", counting_text(20)));
  CATCH_CHECK_THROWS_WITH(split_text(text, 0.2, kSequence), Catch::Contains("validation 4 bytes"));
  CATCH_CHECK_THROWS_WITH(split_text(text, 0.8, kSequence), Catch::Contains("training 4 bytes"));
  CATCH_CHECK_THROWS_AS(split_text(text, 0, 20), ConfigError);
  CATCH_CHECK_NOTHROW(split_text(text, 0, 19));
  CATCH_CHECK_NOTHROW(split_text(text, 0.25, kSequence));
}

CATCH_TEST_CASE("a text that was cut since it was opened is an I/O error", "[unit]") {
  const tests::TemporaryFolder folder;
  const std::string path = folder.add("text", counting_text(100));
  const ByteText text(path);
  folder.add("text", "x");
  RandomWindows windows(text, {90, 100}, kSequence, 1);
  Batch batch(1);
  CATCH_CHECK_THROWS_AS(windows.next_batch(batch.spans()), IoError);
}

}  // namespace
}  // namespace asterias::tools
