#include "tests/fuzz/mutator.hpp"

#include <algorithm>

namespace asterias::fuzz {

std::string Mutator::next(const std::vector<std::string>& inputs, std::size_t max_bytes) {
  std::string input = inputs[below(inputs.size())];
  for (std::size_t changes = 1 + below(8); changes > 0; --changes) change(input, inputs);
  if (input.size() > max_bytes) input.resize(max_bytes);
  return input;
}

void Mutator::change(std::string& input, const std::vector<std::string>& inputs) {
  switch (below(9)) {
    case 0:
      if (!input.empty()) input[below(input.size())] ^= static_cast<char>(1 << below(8));
      break;
    case 1:
      if (!input.empty()) input[below(input.size())] = static_cast<char>(random_());
      break;
    case 2: return insert(input, std::string(1, static_cast<char>(random_())));
    case 3: return erase(input);
    case 4: return repeat(input);
    case 5: return insert(input, piece_of(inputs[below(inputs.size())]));
    case 6: return overwrite(input, piece_of(inputs[below(inputs.size())]));
    case 7: return insert(input, words_[below(words_.size())]);
    default: return overwrite(input, words_[below(words_.size())]);
  }
}

void Mutator::overwrite(std::string& input, const std::string& piece) {
  const std::size_t at = below(input.size() + 1);
  input.replace(at, std::min(piece.size(), input.size() - at), piece);
}

void Mutator::erase(std::string& input) {
  if (input.empty()) return;
  const std::size_t at = below(input.size());
  input.erase(at, 1 + below(std::min<std::size_t>(input.size() - at, 16)));
}

void Mutator::repeat(std::string& input) {
  std::string piece = piece_of(input);
  if (piece.size() > 64) piece.resize(64);
  std::string many;
  for (std::size_t times = std::size_t{1} << below(10); times > 0; --times) many += piece;
  insert(input, many);
}

std::string Mutator::piece_of(const std::string& input) {
  if (input.empty()) return {};
  const std::size_t at = below(input.size());
  return input.substr(at, 1 + below(std::min<std::size_t>(input.size() - at, 64)));
}

}  // namespace asterias::fuzz
