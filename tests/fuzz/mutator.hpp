// Makes new inputs from old ones: bits, bytes, numbers, words of the format, pieces of other inputs.
//
// Threading: thread-compatible.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace asterias::fuzz {

class Mutator {
 public:
  // `words` are what the format is made of: keys, signs, numbers at the edge.
  Mutator(std::uint64_t seed, std::vector<std::string> words) : random_(seed), words_(std::move(words)) {}

  // Returns one of `inputs` (not empty) with one to eight changes, `max_bytes` long at most.
  std::string next(const std::vector<std::string>& inputs, std::size_t max_bytes);

 private:
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(random_() % count); }
  void change(std::string& input, const std::vector<std::string>& inputs);
  void insert(std::string& input, const std::string& piece) { input.insert(below(input.size() + 1), piece); }
  void overwrite(std::string& input, const std::string& piece);
  void erase(std::string& input);
  void repeat(std::string& input);
  std::string piece_of(const std::string& input);

  std::mt19937_64 random_;
  std::vector<std::string> words_;
};

}  // namespace asterias::fuzz
