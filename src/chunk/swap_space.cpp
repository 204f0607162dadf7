#include "chunk/swap_space.hpp"

#include <algorithm>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::chunk {
namespace {

constexpr std::uint64_t kGrowBytes = 64 * kMiB;  // files grow in steps, so that they stay contiguous on the drive

}  // namespace

Extents::Extents(Extents&& other) noexcept
    : space_(other.space_), bytes_(std::exchange(other.bytes_, 0)), pieces_(std::move(other.pieces_)) {}

Extents& Extents::operator=(Extents&& other) noexcept {
  if (this != &other) {
    give_back();
    space_ = other.space_;
    bytes_ = std::exchange(other.bytes_, 0);
    pieces_ = std::move(other.pieces_);
  }
  return *this;
}

Extents::~Extents() { give_back(); }

void Extents::give_back() noexcept {
  if (!bytes_) return;
  const std::lock_guard lock(space_->mutex_);
  for (const auto& piece : pieces_) space_->give(piece);
  space_->used_bytes_ -= bytes_;
  bytes_ = 0;
  pieces_.clear();
}

SwapSpace::SwapSpace(std::vector<std::unique_ptr<device::BlockFile>> files, std::uint64_t limit_bytes)
    : limit_bytes_(limit_bytes) {
  for (auto& file : files) files_.push_back({std::move(file), 0, {}});
}

std::uint64_t SwapSpace::charge(std::uint64_t bytes) { return round_up(bytes, device::kBlockFileAlignment); }

std::optional<Extents> SwapSpace::try_take(std::uint64_t bytes) {
  const std::uint64_t charged = charge(bytes);
  const std::lock_guard lock(mutex_);
  if (used_bytes_ > limit_bytes_ || charged > limit_bytes_ - used_bytes_) return std::nullopt;
  return take(charged);
}

Extents SwapSpace::take_beyond_limit(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  return take(charge(bytes));
}

// Cuts `charged` bytes into stripes of equal size over the drives. REQUIRES: mutex_.
Extents SwapSpace::take(std::uint64_t charged) {
  Extents extents;
  const std::uint64_t drives = std::clamp<std::uint64_t>(charged / kStripeBytes, 1, files_.size());
  const std::uint64_t stripe = charge((charged + drives - 1) / drives);
  try {
    for (std::uint64_t left = charged; left > 0;) {
      const std::uint64_t bytes = std::min(stripe, left);
      take_from(next_file_, bytes, extents);
      next_file_ = (next_file_ + 1) % static_cast<std::uint32_t>(files_.size());
      left -= bytes;
    }
  } catch (...) {
    for (const auto& piece : extents.pieces_) give(piece);
    throw;
  }
  extents.space_ = this;
  extents.bytes_ = charged;
  used_bytes_ += charged;
  peak_used_bytes_ = std::max(peak_used_bytes_, used_bytes_);
  return extents;
}

// Takes the smallest hole that holds all, else the end of the file, else holes piece by piece.
void SwapSpace::take_from(std::uint32_t index, std::uint64_t bytes, Extents& into) {
  File& file = files_[index];
  auto best = file.holes.end();
  for (auto at = file.holes.begin(); at != file.holes.end(); ++at)
    if (at->second >= bytes && (best == file.holes.end() || at->second < best->second)) best = at;
  if (best == file.holes.end()) {
    grow(file, bytes);
    best = std::prev(file.holes.end());
    while (best->second < bytes) {  // the drive's end: use what there is
      bytes -= best->second;
      into.pieces_.push_back({index, best->first, best->second});
      file.holes.erase(best);
      best = std::prev(file.holes.end());
    }
  }
  into.pieces_.push_back({index, best->first, bytes});
  if (best->second > bytes) file.holes.emplace(best->first + bytes, best->second - bytes);
  file.holes.erase(best);
}

// Makes free space for `bytes` in all, the last hole first.
void SwapSpace::grow(File& file, std::uint64_t bytes) {
  std::uint64_t free = 0;
  for (const auto& [_, hole] : file.holes) free += hole;
  const bool limited = limit_bytes_ != kUnlimited && files_.size() == 1;
  const std::uint64_t end = std::max(limit_bytes_, used_bytes_ + bytes);
  std::uint64_t step = std::max(kGrowBytes, bytes);
  if (limited) step = std::min(step, end > file.end ? end - file.end : 0);
  if (free + step < bytes) step = bytes - free;
  if (step == 0) return;
  file.file->grow(file.end + step);
  const std::uint64_t start = std::exchange(file.end, file.end + step);
  give({static_cast<std::uint32_t>(&file - files_.data()), start, step});
}

void SwapSpace::give(const Extents::Piece& piece) noexcept {
  auto& holes = files_[piece.file].holes;
  auto at = holes.emplace(piece.offset, piece.bytes).first;
  if (auto after = std::next(at); after != holes.end() && at->first + at->second == after->first) {
    at->second += after->second;
    holes.erase(after);
  }
  if (at != holes.begin()) {
    auto before = std::prev(at);
    if (before->first + before->second == at->first) {
      before->second += at->second;
      holes.erase(at);
    }
  }
}

MoveTicket SwapSpace::write(const Extents& extents, std::span<const std::byte> from) {
  MoveTicket ticket;
  for (const auto& piece : extents.pieces_) {
    ticket.add(files_[piece.file].file->write(piece.offset, from.first(piece.bytes)));
    from = from.subspan(piece.bytes);
  }
  return ticket;
}

MoveTicket SwapSpace::read(const Extents& extents, std::span<std::byte> into) {
  MoveTicket ticket;
  for (const auto& piece : extents.pieces_) {
    ticket.add(files_[piece.file].file->read(piece.offset, into.first(piece.bytes)));
    into = into.subspan(piece.bytes);
  }
  return ticket;
}

std::uint64_t SwapSpace::used_bytes() const {
  const std::lock_guard lock(mutex_);
  return used_bytes_;
}

std::uint64_t SwapSpace::peak_used_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_used_bytes_;
}

}  // namespace asterias::chunk
