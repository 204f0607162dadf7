// A BlockFile whose transfers are pread and pwrite on threads of its own: works everywhere, also where io_uring is
// forbidden.
//
// Requests are served in the order of submission; a worker takes the next block of the oldest request, so one large
// request already uses the whole queue depth. The first failure of a request keeps its blocks that have not started
// from starting.
//
// Threading: thread-safe. The mutex is never held during a transfer or while a ticket completes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "device/block_file.hpp"
#include "device/swap_file.hpp"

namespace asterias::device {

class ThreadBlockFile final : public BlockFile {
 public:
  // Starts options.queue_depth workers. Throws what SwapFile throws, and ConfigError for options out of range.
  ThreadBlockFile(const std::string& directory, const BlockFileOptions& options, std::shared_ptr<FileCalls> calls);
  ~ThreadBlockFile() override;

  Ticket read(std::uint64_t offset, std::span<std::byte> into) override;
  Ticket write(std::uint64_t offset, std::span<const std::byte> from) override;
  void grow(std::uint64_t bytes) override;
  const std::string& path() const override { return file_.path(); }

 private:
  struct Request;
  struct Block;

  void start_workers();
  void stop_workers();
  Ticket submit(std::shared_ptr<Request> request);
  void work();
  bool take_block(Block& block);  // false: nothing left and stopping
  void end_block(Block block, std::exception_ptr error);
  std::exception_ptr transfer(const Block& block);
  std::int64_t move_once(const Block& block, std::uint64_t done);
  int leave_page_cache(const Block& block);
  void extend(std::uint64_t from_bytes, std::uint64_t to_bytes);

  const BlockFileOptions options_;
  const std::shared_ptr<FileCalls> calls_;
  SwapFile file_;

  std::mutex mutex_;
  std::condition_variable submitted_;
  std::deque<std::shared_ptr<Request>> queue_;  // requests with blocks that have not started
  bool stopping_ = false;

  std::mutex grow_mutex_;
  std::uint64_t file_bytes_ = 0;  // under grow_mutex_; with the header

  std::vector<std::thread> workers_;
};

}  // namespace asterias::device
