#include "device/thread_block_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>
#include <utility>

#include "base/error.hpp"
#include "base/log.hpp"
#include "device/swap_file_header.hpp"

namespace asterias::device {
namespace {

// A drive transfers whole sectors, so a count that is not a multiple ended within one, and that sector is done again.
constexpr std::uint64_t kSectorBytes = 512;

const BlockFileOptions& checked(const BlockFileOptions& options) {
  std::vector<std::string> complaints;
  if (options.queue_depth < 1 || options.queue_depth > 1024)
    complaints.push_back("io.queue_depth: " + std::to_string(options.queue_depth) + " is not between 1 and 1024");
  if (options.block_bytes == 0 || options.block_bytes % kBlockFileAlignment != 0)
    complaints.push_back("io.block_size: " + std::to_string(options.block_bytes) + " is not a multiple of 4096 bytes");
  if (!complaints.empty()) throw ConfigError(complaints);
  return options;
}

void require_aligned(const char* what, std::uint64_t value) {
  if (value % kBlockFileAlignment != 0)
    throw StateError(StateError::Cause::kBug, std::string("a block file was given ") + what + " " +
                                                  std::to_string(value) + ", which is not a multiple of 4096");
}

}  // namespace

// One read or write. All fields but the first four change under the file's mutex only.
struct ThreadBlockFile::Request {
  bool is_write;
  std::byte* memory;  // not written through when is_write
  std::uint64_t offset;
  std::uint64_t bytes;
  std::uint64_t started_bytes = 0;
  int blocks_in_flight = 0;
  std::exception_ptr error = nullptr;
  Ticket::Promise promise{};
};

// `offset` is the file's, header included.
struct ThreadBlockFile::Block {
  std::shared_ptr<Request> request;
  std::byte* memory = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

ThreadBlockFile::ThreadBlockFile(const std::string& directory, const BlockFileOptions& options,
                                 std::shared_ptr<FileCalls> calls)
    : options_(checked(options)),
      calls_(std::move(calls)),
      file_(directory, options.direct, *calls_),
      file_bytes_(kSwapFileHeaderBytes) {
  try {
    start_workers();
  } catch (...) {  // the system has no more threads to give
    stop_workers();
    throw;
  }
}

ThreadBlockFile::~ThreadBlockFile() { stop_workers(); }

void ThreadBlockFile::start_workers() {
  workers_.reserve(static_cast<std::size_t>(options_.queue_depth));
  for (int i = 0; i < options_.queue_depth; ++i) workers_.emplace_back([this] { work(); });
}

void ThreadBlockFile::stop_workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  submitted_.notify_all();
  for (auto& worker : workers_) worker.join();
}

Ticket ThreadBlockFile::read(std::uint64_t offset, std::span<std::byte> into) {
  return submit(std::make_shared<Request>(Request{false, into.data(), offset, into.size()}));
}

Ticket ThreadBlockFile::write(std::uint64_t offset, std::span<const std::byte> from) {
  return submit(std::make_shared<Request>(Request{true, const_cast<std::byte*>(from.data()), offset, from.size()}));
}

Ticket ThreadBlockFile::submit(std::shared_ptr<Request> request) {
  require_aligned("the offset", request->offset);
  require_aligned("the size", request->bytes);
  require_aligned("the address", reinterpret_cast<std::uint64_t>(request->memory));
  if (request->bytes == 0) return Ticket();
  Ticket ticket = request->promise.ticket();
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(request));
  }
  submitted_.notify_all();  // a request of many blocks is many workers' work
  return ticket;
}

void ThreadBlockFile::work() {
  pthread_setname_np(pthread_self(), "asterias-io");
  for (Block block; take_block(block);) {
    std::exception_ptr error = transfer(block);
    end_block(std::move(block), std::move(error));
  }
}

bool ThreadBlockFile::take_block(Block& block) {
  std::unique_lock lock(mutex_);
  submitted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
  if (queue_.empty()) return false;
  const std::shared_ptr<Request> request = queue_.front();
  const std::uint64_t start = request->started_bytes;
  if (start == 0) request->promise.begin();
  const std::uint64_t bytes = std::min(options_.block_bytes, request->bytes - start);
  request->started_bytes += bytes;
  ++request->blocks_in_flight;
  if (request->started_bytes == request->bytes) queue_.pop_front();
  block = {request, request->memory + start, kSwapFileHeaderBytes + request->offset + start, bytes};
  return true;
}

void ThreadBlockFile::end_block(Block block, std::exception_ptr error) {
  Request& request = *block.request;
  {
    const std::lock_guard lock(mutex_);
    if (error && !request.error) {
      request.error = std::move(error);
      if (request.started_bytes < request.bytes) std::erase(queue_, block.request);
      request.started_bytes = request.bytes;
    }
    --request.blocks_in_flight;
    if (request.blocks_in_flight > 0 || request.started_bytes < request.bytes) return;
  }
  request.promise.complete(std::move(request.error));  // nobody else looks at this request any more
}

// Runs without a lock. The errors are made, not thrown: this is nobody's stack to unwind.
std::exception_ptr ThreadBlockFile::transfer(const Block& block) {
  const bool is_write = block.request->is_write;
  const auto failed = [&](int number, std::uint64_t done, const char* what) {
    return std::make_exception_ptr(IoError(number, path(), block.offset + done, what));
  };
  for (std::uint64_t done = 0; done < block.bytes;) {
    const std::int64_t moved = move_once(block, done);
    if (moved == -EINTR) continue;
    if (moved < 0) return failed(static_cast<int>(-moved), done, is_write ? "writing" : "reading");
    const std::uint64_t reached = done + static_cast<std::uint64_t>(moved);
    const std::uint64_t next = reached == block.bytes ? reached : reached / kSectorBytes * kSectorBytes;
    if (next == done) return failed(EIO, done, is_write ? "writing without progress to" : "reading past the end of");
    done = next;
  }
  const int late = file_.direct() ? 0 : leave_page_cache(block);
  return late == 0 ? nullptr : failed(late, 0, "writing back");
}

std::int64_t ThreadBlockFile::move_once(const Block& block, std::uint64_t done) {
  std::byte* const memory = block.memory + done;
  const std::uint64_t bytes = block.bytes - done, offset = block.offset + done;
  if (block.request->is_write) return calls_->pwrite(file_.descriptor(), memory, bytes, offset);
  return calls_->pread(file_.descriptor(), memory, bytes, offset);
}

// DONTNEED drops clean pages only, so what was written goes to the drive first; this is also where a full or broken
// drive is heard of when writes are buffered. Returns 0 or errno.
int ThreadBlockFile::leave_page_cache(const Block& block) {
  constexpr unsigned kWriteAndWait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const auto offset = static_cast<off_t>(block.offset), bytes = static_cast<off_t>(block.bytes);
  const bool written =
      !block.request->is_write || sync_file_range(file_.descriptor(), offset, bytes, kWriteAndWait) == 0;
  const int error_number = written || errno == ENOSYS || errno == EINTR ? 0 : errno;
  posix_fadvise(file_.descriptor(), offset, bytes, POSIX_FADV_DONTNEED);
  return error_number;
}

void ThreadBlockFile::grow(std::uint64_t bytes) {
  require_aligned("the file size", bytes);
  const std::lock_guard lock(grow_mutex_);
  const std::uint64_t wanted = kSwapFileHeaderBytes + bytes;
  if (wanted <= file_bytes_) return;
  extend(file_bytes_, wanted);
  file_bytes_ = wanted;
}

void ThreadBlockFile::extend(std::uint64_t from_bytes, std::uint64_t to_bytes) {
  int error_number = EINTR;
  while (error_number == EINTR) error_number = calls_->allocate(file_.descriptor(), from_bytes, to_bytes - from_bytes);
  if (error_number == 0) return;
  const bool cannot_preallocate = error_number == EOPNOTSUPP;
  // Also after ENOSPC: what was allocated before the drive was full goes back to it.
  const bool resized =
      ftruncate(file_.descriptor(), static_cast<off_t>(cannot_preallocate ? to_bytes : from_bytes)) == 0;
  if (!cannot_preallocate)
    throw IoError(error_number, path(), from_bytes, "growing to " + std::to_string(to_bytes) + " bytes");
  if (!resized) throw IoError(errno, path(), from_bytes, "growing to " + std::to_string(to_bytes) + " bytes");
  log::warning("the file system of " + path() +
               " cannot preallocate; a full drive will show only when it is written to");
}

}  // namespace asterias::device
