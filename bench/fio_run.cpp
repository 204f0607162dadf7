#include "bench/fio_run.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace asterias::bench {
namespace {

constexpr std::uint64_t kMib = 1 << 20;

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

// What a shell command prints.
std::string printed_by(const std::string& command) {
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (!pipe) throw std::runtime_error("cannot start " + command);
  std::string text;
  std::array<char, 4096> part{};
  while (const auto got = std::fread(part.data(), 1, part.size(), pipe)) text.append(part.data(), got);
  const int status = pclose(pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) throw std::runtime_error("please install fio");
  if (status != 0) throw std::runtime_error("this failed: " + command);
  return text;
}

}  // namespace

FioRun::FioRun(const std::string& folder, std::uint64_t file_bytes, std::uint64_t block_bytes, int queue_depth)
    : file_(folder + "/fio-" + std::to_string(getpid())),
      settings_("--filename=" + quoted(file_) + " --size=" + std::to_string((file_bytes + kMib - 1) / kMib) +
                "m --bs=" + std::to_string(block_bytes) + " --iodepth=" + std::to_string(queue_depth)) {
  output_of("--rw=write");
}

FioRun::~FioRun() { ::unlink(file_.c_str()); }

double FioRun::seconds(const Mix& mix) const {
  const auto share = static_cast<double>(mix.read_bytes) / static_cast<double>(mix.sum());
  const auto percent = std::to_string(std::lround(100 * share));
  const auto text = output_of("--rw=rw --rwmixread=" + percent + " --io_size=" + std::to_string(mix.sum()));
  const auto job = nlohmann::json::parse(text.substr(text.find('{'))).at("jobs").at(0);
  const auto& read = job.at("read");
  const auto& write = job.at("write");
  const double took = std::max(read.at("runtime").get<double>(), write.at("runtime").get<double>()) / 1e3;
  const double moved = read.at("io_bytes").get<double>() + write.at("io_bytes").get<double>();
  if (took <= 0 || moved <= 0) throw std::runtime_error("too few bytes for fio to take time: use a larger model");
  return took * static_cast<double>(mix.sum()) / moved;
}

std::string FioRun::output_of(const std::string& traffic) const {
  return printed_by("GLIBC_TUNABLES=glibc.malloc.hugetlb=1 fio --name=fio " + settings_ + " " + traffic +
                    " --ioengine=io_uring --direct=1 --fallocate=posix --output-format=json 2> /dev/null");
}

}  // namespace asterias::bench
