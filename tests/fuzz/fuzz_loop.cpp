#include "tests/fuzz/fuzz_loop.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <random>
#include <stdexcept>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.hpp"
#include "tests/fuzz/coverage.hpp"
#include "tests/fuzz/mutator.hpp"

namespace asterias::fuzz {
namespace {

using Clock = std::chrono::steady_clock;

constexpr unsigned kMaxSeconds = 10;  // of one input
constexpr std::size_t kKeptBytes = 1 << 20;

// The present input in a file that outlives any kind of crash: a shared mapping needs no system call per input.
class KeptInput {
 public:
  explicit KeptInput(const std::string& name) : path_("fuzz-" + name + ".input") {
    const int file = ::open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ::ftruncate(file, kKeptBytes) != 0) throw std::runtime_error("cannot write " + path_);
    void* const mapped = ::mmap(nullptr, kKeptBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    if (mapped == MAP_FAILED) throw std::runtime_error("cannot map " + path_);
    bytes_ = static_cast<char*>(mapped);
  }
  KeptInput(const KeptInput&) = delete;
  KeptInput& operator=(const KeptInput&) = delete;
  ~KeptInput() { ::munmap(bytes_, kKeptBytes); }

  // The length comes first, as text, since the file is longer.
  void set(const std::string& input) {
    const std::string head = std::to_string(input.size()) + "\n";
    std::memcpy(bytes_, head.data(), head.size());
    std::memcpy(bytes_ + head.size(), input.data(), std::min(input.size(), kKeptBytes - head.size()));
  }
  void remove() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  char* bytes_ = nullptr;
};

std::string kept_input(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::size_t length = 0;
  file >> length;
  file.get();
  std::string input(std::istreambuf_iterator<char>(file), {});
  if (input.size() < length) throw std::runtime_error(path + " is no kept input");
  input.resize(length);
  return input;
}

// Ends the process by SIGALRM unless it dies in time.
struct Deadline {
  Deadline() { ::alarm(kMaxSeconds); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  ~Deadline() { ::alarm(0); }
};

void read_one(const Target& target, const std::string& input) {
  const Deadline deadline;
  try {
    target.read(input);
  } catch (const ConfigError&) {
  } catch (const IoError&) {
  }
}

// When to stop: after a number of inputs, or of seconds.
class Length {
 public:
  explicit Length(const Target& target) : num_inputs_(target.num_inputs) {
    if (const char* seconds = std::getenv("ASTERIAS_FUZZ_SECONDS"))
      until_ = Clock::now() + std::chrono::seconds(std::atoi(seconds));
  }
  bool is_long() const { return until_.has_value(); }
  bool is_over(int count) const { return until_ ? Clock::now() >= *until_ : count >= num_inputs_; }

 private:
  int num_inputs_;
  std::optional<Clock::time_point> until_;
};

void search(const Target& target, KeptInput& kept) {
  const Length length(target);
  Mutator mutator(length.is_long() ? std::random_device{}() : 1, target.words);
  std::vector<std::string> inputs;
  const auto feed = [&](const std::string& input) {
    kept.set(input);
    begin_input();
    read_one(target, input);
    if (took_something_new()) inputs.push_back(input);
  };
  for (const auto& seed : target.seeds) feed(seed);
  int count = 0;
  for (; !length.is_over(count); ++count) feed(mutator.next(inputs, target.max_bytes));
  if (length.is_long())
    std::cout << target.name << ": " << count << " inputs, " << inputs.size() << " kept, " << num_edges() << " edges\n";
}

}  // namespace

void run(const Target& target) {
  if (const char* path = std::getenv("ASTERIAS_FUZZ_INPUT")) return read_one(target, kept_input(path));
  KeptInput kept(target.name);
  try {
    search(target, kept);
  } catch (const std::exception& error) {
    throw std::runtime_error(target.name + " threw \"" + error.what() + "\" on the input in " + kept.path());
  }
  kept.remove();
}

}  // namespace asterias::fuzz
