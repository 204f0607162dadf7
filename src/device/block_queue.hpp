// The requests that wait to be transferred by one block file, cut into blocks, in the order in which those shall start.
//
// What is waited for goes first: a request starts behind all others, and the first hurry() of its ticket moves what is
// left of it behind those that were hurried before. So a fetch that the step waits for passes queued write-backs, and
// a write-back whose room is waited for passes them, too. The queue transfers nothing; ThreadBlockFile and
// RingBlockFile take blocks and say how they ended.
//
// Invariants
//   * A request's ticket completes when its last block that was taken has ended and no further one will start.
//   * The first failure of a request keeps its blocks that have not started from starting.
//
// Threading: thread-safe. The mutex is never held while a ticket completes. Units: bytes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>

#include "device/awaited_first.hpp"
#include "device/ticket.hpp"

namespace asterias::device {

class BlockQueue : public std::enable_shared_from_this<BlockQueue> {
 public:
  class Request;

  // What goes to or from the drive at once. `offset` is the file's, header included.
  struct Block {
    std::shared_ptr<Request> request;
    bool is_write = false;
    std::byte* memory = nullptr;  // not written through when is_write
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    std::uint64_t done_bytes = 0;

    bool is_done() const { return done_bytes == bytes; }

    // Takes note of what a system call moved, or of its -errno. Null: go on until is_done(). The errors are made, not
    // thrown: this is nobody's stack to unwind.
    std::exception_ptr note(std::int64_t moved, const std::string& path);
  };

  explicit BlockQueue(std::uint64_t block_bytes) : block_bytes_(block_bytes) {}

  // Adds a request for `bytes` at `offset` of what callers see. Throws StateError for what is not aligned to
  // kBlockFileAlignment.
  Ticket push(bool is_write, std::byte* memory, std::uint64_t offset, std::uint64_t bytes);

  // Takes the next block. wait_and_take blocks until there is one, and returns false when there is none and stop() was
  // called; try_take returns false at once.
  bool wait_and_take(Block& block);
  bool try_take(Block& block);

  // Ends a block that was taken; completes its request's ticket if it was the last.
  void end(Block block, std::exception_ptr error);

  // Lets takers go once nothing is left to be taken; is_over() then.
  void stop();
  bool is_over();

 private:
  Block take_front();
  void hurry(Request& request) noexcept;

  const std::uint64_t block_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  AwaitedFirst<Request> requests_;  // with blocks that have not started
  bool stopping_ = false;
};

}  // namespace asterias::device
