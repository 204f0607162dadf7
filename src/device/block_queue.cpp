#include "device/block_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"
#include "base/node_pool.hpp"
#include "device/block_alignment.hpp"
#include "device/swap_file_header.hpp"

namespace asterias::device {
namespace {

// A drive transfers whole sectors, so a count that is not a multiple ended within one, and that sector is done again.
constexpr std::uint64_t kSectorBytes = 512;

// Of equal blocks of about `block_bytes` that a request is cut into: a rest would take the place of a whole one.
std::uint64_t even_block_bytes(std::uint64_t bytes, std::uint64_t block_bytes) {
  const std::uint64_t num_blocks = std::max<std::uint64_t>(1, (bytes + block_bytes / 2) / block_bytes);
  return round_up((bytes + num_blocks - 1) / num_blocks, kBlockFileAlignment);
}

}  // namespace

// One read or write. Fields in the second half change under the queue's mutex only.
class BlockQueue::Request final : public Ticket::Queued {
 public:
  void hurry() noexcept override { queue->hurry(*this); }

  std::shared_ptr<BlockQueue> queue;  // a ticket may be hurried when the file is about to go
  bool is_write = false;
  std::byte* memory = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_of_block = 0;  // all but the last
  Ticket::Promise promise;

  std::uint64_t started_bytes = 0;
  int blocks_in_flight = 0;
  AwaitedFirst<Request>::Place place;
  std::exception_ptr error;
};

std::exception_ptr BlockQueue::Block::note(std::int64_t moved, const std::string& path) {
  const auto failed = [&](int number, const char* what) {
    return std::make_exception_ptr(IoError(number, path, offset + done_bytes, what));
  };
  if (moved == -EINTR) return nullptr;
  if (moved < 0) return failed(static_cast<int>(-moved), is_write ? "writing" : "reading");
  const std::uint64_t reached = done_bytes + static_cast<std::uint64_t>(moved);
  const std::uint64_t next = reached == bytes ? reached : reached / kSectorBytes * kSectorBytes;
  if (next == done_bytes) return failed(EIO, is_write ? "writing without progress to" : "reading past the end of");
  done_bytes = next;
  return nullptr;
}

Ticket BlockQueue::push(bool is_write, std::byte* memory, std::uint64_t offset, std::uint64_t bytes) {
  require_aligned("the offset", offset);
  require_aligned("the size", bytes);
  require_aligned("the address", reinterpret_cast<std::uint64_t>(memory));
  if (bytes == 0) return Ticket();
  const auto request = make_shared_pooled<Request>();
  request->queue = shared_from_this();
  request->is_write = is_write;
  request->memory = memory;
  request->offset = kSwapFileHeaderBytes + offset;
  request->bytes = bytes;
  request->bytes_of_block = even_block_bytes(bytes, block_bytes_);
  request->promise.tell_when_awaited(request);
  Ticket ticket = request->promise.ticket();
  {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
  }
  changed_.notify_all();  // a request of many blocks is many workers' work
  return ticket;
}

bool BlockQueue::wait_and_take(Block& block) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
  if (requests_.empty()) return false;
  block = take_front();
  return true;
}

bool BlockQueue::try_take(Block& block) {
  const std::lock_guard lock(mutex_);
  if (requests_.empty()) return false;
  block = take_front();
  return true;
}

BlockQueue::Block BlockQueue::take_front() {
  const std::shared_ptr<Request> request = requests_.front();
  const std::uint64_t start = request->started_bytes;
  if (start == 0) request->promise.begin();
  const std::uint64_t bytes = std::min(request->bytes_of_block, request->bytes - start);
  request->started_bytes += bytes;
  ++request->blocks_in_flight;
  if (request->started_bytes == request->bytes) requests_.erase(*request);
  return {request, request->is_write, request->memory + start, request->offset + start, bytes};
}

void BlockQueue::end(Block block, std::exception_ptr error) {
  Request& request = *block.request;
  {
    const std::lock_guard lock(mutex_);
    if (error && !request.error) {
      request.error = std::move(error);
      if (request.started_bytes < request.bytes) requests_.erase(request);
      request.started_bytes = request.bytes;
    }
    --request.blocks_in_flight;
    if (request.blocks_in_flight > 0 || request.started_bytes < request.bytes) return;
  }
  request.promise.complete(std::move(request.error));  // nobody else looks at this request any more
}

void BlockQueue::hurry(Request& request) noexcept {
  const std::lock_guard lock(mutex_);
  requests_.hurry(request);
}

void BlockQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

bool BlockQueue::is_over() {
  const std::lock_guard lock(mutex_);
  return stopping_ && requests_.empty();
}

}  // namespace asterias::device
