#include "runtime/nvme_probe.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "base/byte_size.hpp"

namespace asterias::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMostMemory = 64 * kMiB;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A block of the run's own size, or less where a file would hold only a few.
std::uint64_t block_bytes_for(const IoConfig& io, std::uint64_t file_bytes) {
  const std::uint64_t most = file_bytes / 8 / device::kBlockFileAlignment * device::kBlockFileAlignment;
  return std::min(io.block_bytes, most);
}

// Drives and hosts that compress, or keep equal blocks once, must not be flattered.
void fill_like_weights(device::PageBlock& memory) {
  std::mt19937_64 random(1);
  for (std::uint64_t at = 0; at < memory.bytes(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random();
    std::memcpy(memory.data() + at, &word, sizeof word);
  }
}

}  // namespace

struct NvmeProbe::Transfer {
  std::size_t file;
  std::uint64_t block;
  bool is_write;
};

NvmeProbe::NvmeProbe(const std::vector<std::string>& folders, const IoConfig& io, std::uint64_t bytes,
                     const std::shared_ptr<device::FileCalls>& calls)
    : block_bytes_(block_bytes_for(io, bytes / folders.size())),
      blocks_per_file_(bytes / folders.size() / block_bytes_),
      num_places_(2 * static_cast<std::uint64_t>(io.queue_depth) * folders.size()),
      memory_(std::min(num_places_, std::max<std::uint64_t>(2, kMostMemory / block_bytes_)) * block_bytes_) {
  fill_like_weights(memory_);
  for (const auto& folder : folders) {
    files_.push_back(device::create_swap_file(folder, {io.queue_depth, block_bytes_, io.direct, io.engine}, calls));
    files_.back()->grow(blocks_per_file_ * block_bytes_);
  }
  run(Traffic::kWrite, blocks_per_file_ * files_.size(), 0);  // what was never written is read from nowhere
}

double NvmeProbe::rate(Traffic traffic, double seconds) {
  const auto start = Clock::now();
  const std::uint64_t blocks = run(traffic, blocks_per_file_ * files_.size(), seconds);
  return static_cast<double>(blocks * block_bytes_) / seconds_since(start);
}

NvmeProbe::Transfer NvmeProbe::nth(Traffic traffic, std::uint64_t n) const {
  const std::uint64_t turn = n / files_.size();  // the files take turns
  Transfer transfer{n % files_.size(), turn % blocks_per_file_, traffic == Traffic::kWrite};
  if (traffic != Traffic::kUpdate) return transfer;
  transfer.is_write = turn % 2 == 1;
  const std::uint64_t behind = transfer.is_write ? blocks_per_file_ / 2 : 0;  // so that no block is in both streams
  transfer.block = (turn / 2 + behind) % blocks_per_file_;
  return transfer;
}

device::Ticket NvmeProbe::start(const Transfer& transfer, std::byte* memory) {
  device::BlockFile& file = *files_[transfer.file];
  const std::uint64_t offset = transfer.block * block_bytes_;
  return transfer.is_write ? file.write(offset, {memory, block_bytes_}) : file.read(offset, {memory, block_bytes_});
}

// Returns the number of blocks that were moved: `least`, and more while time is left.
std::uint64_t NvmeProbe::run(Traffic traffic, std::uint64_t least, double seconds) {
  const auto start_time = Clock::now();
  const std::uint64_t num_blocks_of_memory = memory_.bytes() / block_bytes_;
  std::vector<device::Ticket> tickets(num_places_);
  std::uint64_t n = 0;
  for (; n < least || seconds_since(start_time) < seconds; ++n) {
    device::Ticket& place = tickets[n % num_places_];
    place.wait();
    place = start(nth(traffic, n), memory_.data() + n % num_blocks_of_memory * block_bytes_);
  }
  for (auto& ticket : tickets) ticket.wait();
  return n;
}

double probe_nvme(const std::vector<std::string>& folders, const IoConfig& io, ProbeBounds bounds,
                  const std::shared_ptr<device::FileCalls>& calls) {
  if (folders.empty() || bounds.bytes / folders.size() < NvmeProbe::kLeastBytes) return 0;
  return NvmeProbe(folders, io, bounds.bytes, calls).rate(Traffic::kUpdate, bounds.seconds);
}

}  // namespace asterias::runtime
