// Runs fio for a given number of bytes, to hold what we did against it: io_uring with O_DIRECT and buffers on huge
// pages, reads and writes in sequence and mixed as asked, in one file that is laid out beforehand.
//
// Threading: one thread; runs a child process and waits for it. Units: bytes, seconds.
#pragma once

#include <cstdint>
#include <string>

namespace asterias::bench {

struct Mix {
  std::uint64_t read_bytes = 0;
  std::uint64_t write_bytes = 0;
  std::uint64_t sum() const { return read_bytes + write_bytes; }
};

class FioRun {
 public:
  // Lays out a file of `file_bytes` in `folder`; it goes when this does. Throws std::runtime_error where fio is
  // missing or fails.
  FioRun(const std::string& folder, std::uint64_t file_bytes, std::uint64_t block_bytes, int queue_depth);
  FioRun(const FioRun&) = delete;
  FioRun& operator=(const FioRun&) = delete;
  ~FioRun();

  // How long fio takes for `mix`, without its start. It rounds to blocks, so its own bytes per second count. REQUIRES:
  // something to move.
  double seconds(const Mix& mix) const;

 private:
  std::string output_of(const std::string& traffic) const;

  const std::string file_;
  const std::string settings_;
};

}  // namespace asterias::bench
