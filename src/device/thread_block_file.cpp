#include "device/thread_block_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <pthread.h>
#include <utility>

#include "base/error.hpp"

namespace asterias::device {

ThreadBlockFile::ThreadBlockFile(std::unique_ptr<SwapFile> file, const BlockFileOptions& options,
                                 std::shared_ptr<FileCalls> calls)
    : calls_(std::move(calls)), file_(std::move(file)), queue_(std::make_shared<BlockQueue>(options.block_bytes)) {
  try {
    start_workers(options.queue_depth);
  } catch (...) {  // the system has no more threads to give
    stop_workers();
    throw;
  }
}

ThreadBlockFile::~ThreadBlockFile() { stop_workers(); }

void ThreadBlockFile::start_workers(int count) {
  workers_.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) workers_.emplace_back([this] { work(); });
}

void ThreadBlockFile::stop_workers() {
  queue_->stop();
  for (auto& worker : workers_) worker.join();
}

Ticket ThreadBlockFile::read(std::uint64_t offset, std::span<std::byte> into) {
  return queue_->push(/*is_write=*/false, into.data(), offset, into.size());
}

Ticket ThreadBlockFile::write(std::uint64_t offset, std::span<const std::byte> from) {
  return queue_->push(/*is_write=*/true, const_cast<std::byte*>(from.data()), offset, from.size());
}

void ThreadBlockFile::work() {
  pthread_setname_np(pthread_self(), "asterias-io");
  for (BlockQueue::Block block; queue_->wait_and_take(block);) {
    std::exception_ptr error = transfer(block);
    queue_->end(std::move(block), std::move(error));
  }
}

std::exception_ptr ThreadBlockFile::transfer(BlockQueue::Block& block) {
  while (!block.is_done())
    if (auto error = block.note(move_once(block), path())) return error;
  const int late = file_->direct() ? 0 : leave_page_cache(block);
  return late == 0 ? nullptr : std::make_exception_ptr(IoError(late, path(), block.offset, "writing back"));
}

std::int64_t ThreadBlockFile::move_once(const BlockQueue::Block& block) {
  std::byte* const memory = block.memory + block.done_bytes;
  const std::uint64_t bytes = block.bytes - block.done_bytes, offset = block.offset + block.done_bytes;
  return block.is_write ? calls_->pwrite(file_->descriptor(), memory, bytes, offset)
                        : calls_->pread(file_->descriptor(), memory, bytes, offset);
}

// DONTNEED drops clean pages only, so what was written goes to the drive first; this is also where a full or broken
// drive is heard of when writes are buffered. Returns 0 or errno.
int ThreadBlockFile::leave_page_cache(const BlockQueue::Block& block) {
  constexpr unsigned kWriteAndWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const auto offset = static_cast<off_t>(block.offset), bytes = static_cast<off_t>(block.bytes);
  const bool written = !block.is_write || sync_file_range(file_->descriptor(), offset, bytes, kWriteAndWait) == 0;
  const int error_number = written || errno == ENOSYS || errno == EINTR ? 0 : errno;
  posix_fadvise(file_->descriptor(), offset, bytes, POSIX_FADV_DONTNEED);
  return error_number;
}

}  // namespace asterias::device
