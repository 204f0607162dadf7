#include "device/page_block.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <new>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::device {
namespace {

constexpr std::uint64_t kHugePageBytes = 2 * kMiB;

std::atomic<std::uint64_t> mapped_bytes_now{0};
std::atomic<std::uint64_t> seams_now{0};

constexpr int kReadWrite = PROT_READ | PROT_WRITE;

std::byte* map(std::uint64_t bytes, int protection) {
  void* address = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(address);
}

void unmap(std::byte* address, std::uint64_t bytes) noexcept {
  if (bytes > 0) munmap(address, bytes);
}

// Maps too much and gives both ends back, untouched.
std::byte* map_at_offset(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t offset, int protection) {
  const std::uint64_t mapped_bytes = bytes + 2 * alignment;
  std::byte* const mapped = map(mapped_bytes, protection);
  const auto address = reinterpret_cast<std::uint64_t>(mapped);
  const std::uint64_t head = round_up(address, alignment) + offset - address;
  unmap(mapped, head);
  unmap(mapped + head + bytes, mapped_bytes - head - bytes);
  return mapped + head;
}

// Chooses where a large block starts within a huge page. The update streams through four or five blocks at the same
// pace; were they all to start alike, their streams would meet in the same DRAM banks and run at a third of the speed,
// and at multiples of 64 KiB still in the same sets of a second-level cache, at five sixths (bench_adam --skew-bytes 0
// and 65536).
std::uint64_t next_offset() {
  constexpr std::uint64_t kStep = 17 * kPageBytes;
  static std::atomic<std::uint64_t> next{0};
  return next++ % 16 * kStep;
}

// Addresses for pages that begin with those at `first`: where these are mapped as huge ones they stay so.
std::byte* reserve_like(const std::byte* first, std::uint64_t bytes) {
  return map_at_offset(bytes, kHugePageBytes, reinterpret_cast<std::uint64_t>(first) % kHugePageBytes, PROT_NONE);
}

// Moves pages to another address without touching what is in them.
bool move_pages(std::byte* from, std::uint64_t bytes, std::byte* to) {
  return mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED;
}

std::uint64_t next_mapping() {
  static std::atomic<std::uint64_t> mappings{0};
  return ++mappings;
}

void touch_each_page(std::byte* address, std::uint64_t bytes) {
  for (std::uint64_t offset = 0; offset < bytes; offset += kPageBytes)
    *static_cast<volatile std::byte*>(address + offset) = std::byte{0};
}

bool populate(std::byte* address, std::uint64_t bytes) {
  int failed = 0;
  do {
    failed = madvise(address, bytes, MADV_POPULATE_WRITE);
  } while (failed != 0 && (errno == EINTR || errno == EAGAIN));
  if (failed == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  touch_each_page(address, bytes);  // before Linux 5.14
  return true;
}

// A block's pages, and its seams in order; what is 0, stands twice or is the end is none.
struct Pages {
  std::byte* start;
  std::array<std::uint64_t, 3> seams{};
};

Pages map_small_pages(std::uint64_t bytes) {
  const Pages pages{map(bytes, kReadWrite)};
  madvise(pages.start, bytes, MADV_NOHUGEPAGE);
  if (populate(pages.start, bytes)) return pages;
  unmap(pages.start, bytes);
  throw std::bad_alloc();
}

// Starts the block at an offset within its first huge page; what lies before that is moved behind the last one:
//
//     0      offset     2 MiB                n * 2 MiB
//     |        |----------|-- n - 1 more ------|--------|-- less than 2 MiB in small pages --|
//      what was here lies here now:             ^^^^^^^^
//
// So all bytes but those of the small pages are as long in a row in physical memory as huge pages are, wherever the
// block starts: a drive takes only so many pieces at once, and is half as fast from scattered pages.
//
// The kernel merges neighbouring mappings of the same kind, and a huge page across two blocks would outlive the one
// that dies first: its half stays allocated until memory runs short. So only a block's own whole huge pages may be
// huge again.
Pages map_huge_pages(std::uint64_t bytes, std::uint64_t offset) {
  const std::uint64_t huge_bytes = bytes / kHugePageBytes * kHugePageBytes, rest = bytes - huge_bytes;
  std::byte* const first = map_at_offset(offset + bytes, kHugePageBytes, 0, kReadWrite);
  std::byte* const last = first + huge_bytes;
  madvise(first, huge_bytes, MADV_HUGEPAGE);
  if (!populate(first, huge_bytes)) {
    unmap(first, offset + bytes);
    throw std::bad_alloc();
  }
  if (offset > 0 && !move_pages(first, offset, last)) {
    unmap(first, huge_bytes);
    unmap(last + offset, rest);  // between them are no pages, or those of another thread by now
    throw std::bad_alloc();
  }
  std::byte* const start = first + offset;
  if (offset > 0) madvise(start, kHugePageBytes - offset, MADV_NOHUGEPAGE);
  madvise(last, offset + rest, MADV_NOHUGEPAGE);
  if (rest > 0 && !populate(last + offset, rest)) {
    unmap(start, bytes);
    throw std::bad_alloc();
  }
  return {start, {offset > 0 ? kHugePageBytes - offset : 0, huge_bytes - offset, huge_bytes}};
}

}  // namespace

std::uint64_t PageBlock::mapped_bytes() { return mapped_bytes_now; }

std::uint64_t PageBlock::num_seams() { return seams_now; }

// Delegates, so that what is there goes back when more cannot be had.
PageBlock::PageBlock(std::uint64_t bytes) : PageBlock() {
  if (bytes % kPageBytes != 0) throw StateError(StateError::Cause::kBug, "a page block of " + format_bytes(bytes));
  if (bytes == 0) return;
  mapped_bytes_now += bytes;
  bytes_ = bytes;
  mapping_ = next_mapping();
  const Pages pages = bytes < kHugePageBytes ? map_small_pages(bytes) : map_huge_pages(bytes, next_offset());
  data_ = pages.start;
  for (const std::uint64_t seam : pages.seams)
    if (seam > (seams_.empty() ? 0 : seams_.back()) && seam < bytes) note_seam(seam);
}

PageBlock::PageBlock(PageBlock&& other) noexcept { *this = std::move(other); }

PageBlock& PageBlock::operator=(PageBlock&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  mapping_ = std::exchange(other.mapping_, 0);
  seams_ = std::move(other.seams_);  // of one pool: nothing is copied
  other.seams_.clear();
  return *this;
}

PageBlock::~PageBlock() { give_back(); }

void PageBlock::give_back() noexcept {
  if (data_ != nullptr) unmap(data_, bytes_);
  mapped_bytes_now -= bytes_;
  seams_now -= seams_.size();
}

void PageBlock::note_seam(std::uint64_t offset) {
  seams_.push_back(offset);
  ++seams_now;
}

void PageBlock::forget_first_seam() {
  seams_.erase(seams_.begin());
  --seams_now;
}

PageBlock PageBlock::cut(std::uint64_t bytes) {
  if (bytes % kPageBytes != 0 || bytes == 0 || bytes >= bytes_)
    throw StateError(StateError::Cause::kBug,
                     "a page block of " + format_bytes(bytes_) + " cut at " + format_bytes(bytes));
  PageBlock rest;
  rest.data_ = data_ + bytes;
  rest.bytes_ = bytes_ - bytes;
  rest.mapping_ = mapping_;
  bytes_ = bytes;
  const auto first = std::lower_bound(seams_.begin(), seams_.end(), bytes);
  for (auto seam = first; seam != seams_.end(); ++seam) rest.seams_.push_back(*seam - bytes);
  seams_.erase(first, seams_.end());
  return rest;
}

bool PageBlock::can_join(const PageBlock& next) const {
  return mapping_ == next.mapping_ && data_ + bytes_ == next.data_;
}

void PageBlock::join(PageBlock next) {
  for (const std::uint64_t seam : next.seams_) seams_.push_back(bytes_ + seam);
  next.seams_.clear();
  bytes_ += std::exchange(next.bytes_, 0);
  next.data_ = nullptr;
}

// Piece by piece, and of each what lies between two seams: before Linux 6.17 a call moves pages of one mapping.
PageBlock PageBlock::gather(std::pmr::vector<PageBlock> pieces) {
  PageBlock whole;
  for (const PageBlock& piece : pieces) whole.bytes_ += piece.bytes_;
  if (whole.bytes_ == 0) return whole;
  mapped_bytes_now += whole.bytes_;  // before those of the pieces have gone
  whole.data_ = reserve_like(pieces.front().data_, whole.bytes_);
  whole.mapping_ = next_mapping();
  std::uint64_t gathered = 0;
  for (PageBlock& piece : pieces) {
    while (piece) {
      PageBlock part = std::exchange(piece, {});
      if (!part.seams_.empty() && part.seams_.front() == 0) part.forget_first_seam();
      if (!part.seams_.empty()) piece = part.cut(part.seams_.front());
      whole.take_pages(std::move(part), gathered);
    }
  }
  return whole;
}

// Puts all pages of `part`, which has no seam, at `offset`, and moves that behind them.
void PageBlock::take_pages(PageBlock part, std::uint64_t& offset) {
  if (!move_pages(part.data_, part.bytes_, data_ + offset)) {
    unmap(data_, offset);
    unmap(data_ + offset + part.bytes_, bytes_ - offset - part.bytes_);
    data_ = nullptr;  // between them are no pages, or those of another thread by now
    throw std::bad_alloc();
  }
  part.data_ = nullptr;  // whoever maps next may get these addresses
  mapped_bytes_now -= part.bytes_;
  if (offset > 0) note_seam(offset);
  offset += std::exchange(part.bytes_, 0);
}

}  // namespace asterias::device
