#include "tools/text_windows.hpp"

#include <string>

#include "base/error.hpp"

namespace asterias::tools {
namespace {

std::uint64_t num_offsets(TextPart part, const std::vector<unsigned char>& window) {
  return part.size() - window.size() + 1;
}

void copy_row(const std::vector<unsigned char>& window, BatchSpans batch, std::size_t row) {
  for (std::size_t i = 0; i + 1 < window.size(); ++i) {
    batch.inputs[row + i] = window[i];
    batch.targets[row + i] = window[i + 1];
  }
}

void require_window(const ByteText& text, const std::string& which, TextPart part, std::int64_t sequence,
                    const char* more_remedy) {
  if (part.size() > static_cast<std::uint64_t>(sequence)) return;
  throw ConfigError("--data " + text.path() + ": " + which + " " + std::to_string(part.size()) +
                    " bytes, and sequences of " + std::to_string(sequence) + " need at least " +
                    std::to_string(sequence + 1) + "; name a longer text or lower --seq" + more_remedy);
}

}  // namespace

TextSplit split_text(const ByteText& text, double validation_share, std::int64_t sequence) {
  const std::uint64_t num_bytes = text.num_bytes();
  const auto num_validation = static_cast<std::uint64_t>(static_cast<double>(num_bytes) * validation_share);
  const TextSplit split{{0, num_bytes - num_validation}, {num_bytes - num_validation, num_bytes}};
  const bool is_split = validation_share > 0;
  require_window(text, is_split ? "--val-split leaves for training" : "holds", split.training, sequence,
                 is_split ? ", or lower --val-split" : "");
  if (is_split)
    require_window(text, "--val-split gives validation", split.validation, sequence, ", or raise --val-split");
  return split;
}

RandomWindows::RandomWindows(const ByteText& text, TextPart part, std::int64_t sequence, std::uint64_t seed)
    : text_(text), part_(part), generator_(seed), window_(static_cast<std::size_t>(sequence) + 1) {}

void RandomWindows::next_batch(BatchSpans batch) {
  for (std::size_t row = 0; row < batch.inputs.size(); row += window_.size() - 1) {
    // Not uniform_int_distribution, which may differ between standard libraries; the bias of % is below 2^-30 for a
    // file of 8 GiB.
    text_.read(part_.begin + generator_() % num_offsets(part_, window_), window_);
    copy_row(window_, batch, row);
  }
}

EvenWindows::EvenWindows(const ByteText& text, TextPart part, std::int64_t sequence, std::int64_t num_windows)
    : text_(text),
      part_(part),
      num_windows_(static_cast<std::uint64_t>(num_windows)),
      window_(static_cast<std::size_t>(sequence) + 1) {}

void EvenWindows::batch_at(std::int64_t first, BatchSpans batch) {
  auto index = static_cast<double>(first);
  for (std::size_t row = 0; row < batch.inputs.size(); row += window_.size() - 1, ++index) {
    const double share = index / static_cast<double>(num_windows_);  // in [0, 1)
    text_.read(part_.begin + static_cast<std::uint64_t>(share * static_cast<double>(num_offsets(part_, window_))),
               window_);
    copy_row(window_, batch, row);
  }
}

}  // namespace asterias::tools
