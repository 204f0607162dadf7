#include "runtime/nvme_probe.hpp"

#include <algorithm>
#include <chrono>

#include "base/byte_size.hpp"
#include "device/page_block.hpp"

namespace asterias::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kLargestBlock = 4 * kMiB;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A folder's file with a buffer to write from and one to read into.
struct Probed {
  std::unique_ptr<device::BlockFile> file;
  device::PageBlock from, into;
};

// One round: every other block is read while its neighbour is written; the next round swaps them. Each file keeps a
// read and a write in flight, which its block size cuts further.
std::uint64_t run_round(std::vector<Probed>& all, std::uint64_t block_bytes, std::uint64_t blocks, bool swapped) {
  for (std::uint64_t at = 0; at + 1 < blocks; at += 2) {
    std::vector<device::Ticket> tickets;
    for (auto& one : all) {
      const std::uint64_t read_at = at + (swapped ? 1 : 0), write_at = at + (swapped ? 0 : 1);
      tickets.push_back(one.file->read(read_at * block_bytes, {one.into.data(), block_bytes}));
      tickets.push_back(one.file->write(write_at * block_bytes, {one.from.data(), block_bytes}));
    }
    for (auto& ticket : tickets) ticket.wait();
  }
  return blocks / 2 * 2 * block_bytes * all.size();
}

void write_all(Probed& one, std::uint64_t block_bytes, std::uint64_t blocks) {
  one.file->grow(blocks * block_bytes);
  std::fill(one.from.data(), one.from.data() + block_bytes, std::byte{0x5A});
  for (std::uint64_t at = 0; at < blocks; ++at)
    one.file->write(at * block_bytes, {one.from.data(), block_bytes}).wait();
}

}  // namespace

double probe_nvme(const std::vector<std::string>& folders, const IoConfig& io, ProbeBounds bounds,
                  const std::shared_ptr<device::FileCalls>& calls) {
  if (folders.empty()) return 0;
  const std::uint64_t share = bounds.bytes / folders.size();
  const std::uint64_t block_bytes = std::min(kLargestBlock, share / 8 / kMiB * kMiB);
  if (block_bytes == 0) return 0;
  const std::uint64_t blocks = share / block_bytes;
  const device::BlockFileOptions options{io.queue_depth, io.block_bytes, io.direct};
  std::vector<Probed> all;
  for (const auto& folder : folders)
    all.push_back({device::create_swap_file(folder, options, calls), device::PageBlock(block_bytes),
                   device::PageBlock(block_bytes)});
  for (auto& one : all) write_all(one, block_bytes, blocks);

  const auto start = Clock::now();
  double moved = 0;
  for (bool swapped = false; moved == 0 || seconds_since(start) < bounds.seconds; swapped = !swapped)
    moved += static_cast<double>(run_round(all, block_bytes, blocks, swapped));
  return moved / seconds_since(start);
}

}  // namespace asterias::runtime
