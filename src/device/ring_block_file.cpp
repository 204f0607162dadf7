#include "device/ring_block_file.hpp"

#include <pthread.h>
#include <utility>

namespace asterias::device {

RingBlockFile::RingBlockFile(std::unique_ptr<SwapFile> file, std::unique_ptr<IoRing> ring,
                             const BlockFileOptions& options, std::shared_ptr<FileCalls> calls)
    : calls_(std::move(calls)),
      file_(std::move(file)),
      ring_(std::move(ring)),
      queue_(std::make_shared<BlockQueue>(options.block_bytes)),
      blocks_(static_cast<std::size_t>(options.queue_depth)) {
  for (Slot slot = 0; slot < blocks_.size(); ++slot) free_slots_.push_back(slot);
  thread_ = std::thread([this] { work(); });
}

RingBlockFile::~RingBlockFile() {
  queue_->stop();
  ring_->wake();
  thread_.join();
}

Ticket RingBlockFile::read(std::uint64_t offset, std::span<std::byte> into) {
  return push(/*is_write=*/false, into.data(), offset, into.size());
}

Ticket RingBlockFile::write(std::uint64_t offset, std::span<const std::byte> from) {
  return push(/*is_write=*/true, const_cast<std::byte*>(from.data()), offset, from.size());
}

Ticket RingBlockFile::push(bool is_write, std::byte* memory, std::uint64_t offset, std::uint64_t bytes) {
  Ticket ticket = queue_->push(is_write, memory, offset, bytes);
  if (!ticket.done()) ring_->wake();
  return ticket;
}

void RingBlockFile::work() {
  pthread_setname_np(pthread_self(), "asterias-io");
  std::vector<IoRing::Ended> ended;
  for (;;) {
    take_blocks();
    if (is_idle() && queue_->is_over()) return;
    ring_->wait(ended);
    for (const auto& one : ended) take_result(one);
    ended.clear();
  }
}

void RingBlockFile::take_blocks() {
  while (!free_slots_.empty() && queue_->try_take(blocks_[free_slots_.back()])) {
    start(free_slots_.back());
    free_slots_.pop_back();
  }
}

void RingBlockFile::start(Slot slot) {
  const BlockQueue::Block& block = blocks_[slot];
  const std::uint64_t done = block.done_bytes;
  ring_->start(
      {file_->descriptor(), block.is_write, block.memory + done, block.bytes - done, block.offset + done, slot});
}

void RingBlockFile::take_result(const IoRing::Ended& ended) {
  BlockQueue::Block& block = blocks_[ended.tag];
  std::exception_ptr error = block.note(ended.result, path());
  if (!error && !block.is_done()) return start(ended.tag);
  queue_->end(std::move(block), std::move(error));
  free_slots_.push_back(ended.tag);
}

}  // namespace asterias::device
