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
  for (auto& file : files) files_.push_back({std::move(file)});
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
      next_file_ = next_drive(next_file_);
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

// Takes the smallest hole of the drive that holds all, else its new end, else whatever is free there and then on the
// other drives.
void SwapSpace::take_from(std::uint32_t drive, std::uint64_t bytes, Extents& into) {
  auto& holes = files_[drive].holes;
  auto best = holes.end();
  for (auto at = holes.begin(); at != holes.end(); ++at)
    if (at->second >= bytes && (best == holes.end() || at->second < best->second)) best = at;
  if (best != holes.end()) return take_hole(drive, best, bytes, into);
  grow(drive, bytes);
  for (; bytes > 0; drive = next_drive(drive))
    while (bytes > 0 && !files_[drive].holes.empty()) {
      const auto last = std::prev(files_[drive].holes.end());
      const std::uint64_t part = std::min(bytes, last->second);
      take_hole(drive, last, part, into);
      bytes -= part;
    }
}

// Takes the first `bytes` of a hole.
void SwapSpace::take_hole(std::uint32_t drive, Holes::iterator hole, std::uint64_t bytes, Extents& into) {
  into.pieces_.push_back({drive, hole->first, bytes});
  if (hole->second > bytes) files_[drive].holes.emplace(hole->first + bytes, hole->second - bytes);
  files_[drive].holes.erase(hole);
  free_bytes_ -= bytes;
}

// Grows the drive's file within its share of the limit, and so far that `bytes` are free on all drives together.
void SwapSpace::grow(std::uint32_t drive, std::uint64_t bytes) {
  File& file = files_[drive];
  const std::uint64_t share = limit_bytes_ / files_.size() / device::kBlockFileAlignment * device::kBlockFileAlignment;
  const std::uint64_t least = bytes - std::min(bytes, free_bytes_);
  const std::uint64_t wanted = std::min(std::max(kGrowBytes, bytes), share - std::min(share, file.end));
  if (grow_by(drive, std::max(wanted, least), /*must=*/wanted <= least)) return;
  grow_by(drive, least, /*must=*/true);  // the drive is nearly full
}

// False when the drive refuses and need not.
bool SwapSpace::grow_by(std::uint32_t drive, std::uint64_t bytes, bool must) {
  if (bytes == 0) return true;
  File& file = files_[drive];
  try {
    file.file->grow(file.end + bytes);
  } catch (const IoError&) {
    if (must) throw;
    return false;
  }
  give({drive, std::exchange(file.end, file.end + bytes), bytes});
  return true;
}

void SwapSpace::give(const Extents::Piece& piece) noexcept {
  free_bytes_ += piece.bytes;
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

void SwapSpace::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_used_bytes_ = used_bytes_;
}

std::uint64_t SwapSpace::peak_used_bytes() const {
  const std::lock_guard lock(mutex_);
  return peak_used_bytes_;
}

}  // namespace asterias::chunk
