// A BlockFile whose transfers an io_uring carries out: one thread of its own submits them in batches and collects what
// has ended.
//
// O_DIRECT only. Through the page cache the kernel would run the transfers on threads of its own, and what follows them
// (write out, drop the pages) blocks: ThreadBlockFile does that as well.
//
// Invariants
//   * At most queue_depth blocks are in flight; all others wait in the queue, where those that are waited for go first.
//   * What was moved in part is asked for again, from where it ended.
//
// Threading: thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "device/block_file.hpp"
#include "device/block_queue.hpp"
#include "device/io_ring.hpp"
#include "device/swap_file.hpp"

namespace asterias::device {

class RingBlockFile final : public BlockFile {
 public:
  // REQUIRES: options that create_swap_file has checked, a ring opened for options.queue_depth, a file with O_DIRECT.
  RingBlockFile(std::unique_ptr<SwapFile> file, std::unique_ptr<IoRing> ring, const BlockFileOptions& options,
                std::shared_ptr<FileCalls> calls);
  ~RingBlockFile() override;

  Ticket read(std::uint64_t offset, std::span<std::byte> into) override;
  Ticket write(std::uint64_t offset, std::span<const std::byte> from) override;
  void grow(std::uint64_t bytes) override { file_->grow(bytes, *calls_); }
  const std::string& path() const override { return file_->path(); }

 private:
  using Slot = std::uint64_t;  // of blocks_, and the transfer's tag

  Ticket push(bool is_write, std::byte* memory, std::uint64_t offset, std::uint64_t bytes);
  void work();
  void take_blocks();
  void start(Slot slot);
  void take_result(const IoRing::Ended& ended);
  bool is_idle() const { return free_slots_.size() == blocks_.size(); }

  const std::shared_ptr<FileCalls> calls_;
  const std::unique_ptr<SwapFile> file_;
  const std::unique_ptr<IoRing> ring_;
  const std::shared_ptr<BlockQueue> queue_;

  // Of the ring's thread alone.
  std::vector<BlockQueue::Block> blocks_;  // in flight, by slot
  std::vector<Slot> free_slots_;

  std::thread thread_;
};

}  // namespace asterias::device
