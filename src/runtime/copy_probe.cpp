#include "runtime/copy_probe.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/byte_size.hpp"

namespace asterias::runtime {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kNumBlocks = 4;  // two for each direction

}  // namespace

CopyProbe::CopyProbe(std::uint64_t scratch_bytes)
    : way_bytes_(std::max(scratch_bytes, kMiB) / kNumBlocks / device::kPageBytes * device::kPageBytes) {
  for (int way : {0, 1}) {
    from_[way] = device::PageBlock(way_bytes_);
    to_[way] = device::PageBlock(way_bytes_);
  }
}

double CopyProbe::one_way_rate(std::uint64_t piece_bytes) { return rate(1, piece_bytes); }
double CopyProbe::both_ways_rate(std::uint64_t piece_bytes) { return rate(2, piece_bytes); }

device::Ticket CopyProbe::copy_piece(int way, std::uint64_t at, std::uint64_t piece_bytes) {
  return streams_[way].copy(to_[way].data() + at, from_[way].data() + at, std::min(piece_bytes, way_bytes_ - at));
}

double CopyProbe::rate(int num_ways, std::uint64_t piece_bytes) {
  const auto start = Clock::now();
  std::vector<device::Ticket> tickets;
  for (std::uint64_t at = 0; at < way_bytes_; at += piece_bytes)
    for (int way = 0; way < num_ways; ++way) tickets.push_back(copy_piece(way, at, piece_bytes));
  for (auto& ticket : tickets) ticket.wait();
  const double seconds = std::max(std::chrono::duration<double>(Clock::now() - start).count(), 1e-9);
  return static_cast<double>(num_ways) * static_cast<double>(way_bytes_) / seconds;
}

}  // namespace asterias::runtime
