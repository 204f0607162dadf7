// A BlockFile whose transfers are pread and pwrite on threads of its own: works everywhere, also where io_uring is
// forbidden, and also through the page cache.
//
// A worker takes the next block of the queue's first request, so one large request already uses the whole queue depth.
//
// Threading: thread-safe.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "device/block_file.hpp"
#include "device/block_queue.hpp"
#include "device/swap_file.hpp"

namespace asterias::device {

class ThreadBlockFile final : public BlockFile {
 public:
  // Starts options.queue_depth workers. REQUIRES: options that create_swap_file has checked.
  ThreadBlockFile(std::unique_ptr<SwapFile> file, const BlockFileOptions& options, std::shared_ptr<FileCalls> calls);
  ~ThreadBlockFile() override;

  Ticket read(std::uint64_t offset, std::span<std::byte> into) override;
  Ticket write(std::uint64_t offset, std::span<const std::byte> from) override;
  void grow(std::uint64_t bytes) override { file_->grow(bytes, *calls_); }
  const std::string& path() const override { return file_->path(); }

 private:
  void start_workers(int count);
  void stop_workers();
  void work();
  std::exception_ptr transfer(BlockQueue::Block& block);
  std::int64_t move_once(const BlockQueue::Block& block);
  int leave_page_cache(const BlockQueue::Block& block);

  const std::shared_ptr<FileCalls> calls_;
  const std::unique_ptr<SwapFile> file_;
  const std::shared_ptr<BlockQueue> queue_;
  std::vector<std::thread> workers_;
};

}  // namespace asterias::device
