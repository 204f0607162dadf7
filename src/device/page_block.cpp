#include "device/page_block.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <new>
#include <sys/mman.h>
#include <utility>

#include "base/byte_size.hpp"
#include "base/error.hpp"

namespace asterias::device {
namespace {

constexpr std::uint64_t kHugePageBytes = 2 * kMiB;
constexpr std::uint64_t kLeastHugeBlock = 4 * kMiB;

std::atomic<std::uint64_t> mapped_bytes_now{0};

std::byte* map(std::uint64_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(address);
}

void unmap(std::byte* address, std::uint64_t bytes) noexcept {
  if (bytes > 0) munmap(address, bytes);
}

// Maps too much and gives both ends back, untouched.
std::byte* map_at_offset(std::uint64_t bytes, std::uint64_t alignment, std::uint64_t offset) {
  const std::uint64_t mapped_bytes = bytes + 2 * alignment;
  std::byte* const mapped = map(mapped_bytes);
  const auto address = reinterpret_cast<std::uint64_t>(mapped);
  const std::uint64_t head = round_up(address, alignment) + offset - address;
  unmap(mapped, head);
  unmap(mapped + head + bytes, mapped_bytes - head - bytes);
  return mapped + head;
}

// Chooses where a large block starts within a huge page. The update streams through four or five blocks at the same
// pace; were they all to start alike, their streams would meet in the same DRAM banks and run at a quarter of the speed
// (bench/adam --skew-bytes 0).
std::uint64_t next_offset() {
  constexpr std::uint64_t kStep = 64 * kKiB;
  static std::atomic<std::uint64_t> next{0};
  return next++ % 16 * kStep;
}

// The kernel merges neighbouring mappings of the same kind, and a huge page across two blocks would outlive the one
// that dies first: its half stays allocated until memory runs short. So only a block's own whole huge pages may be
// huge.
void advise_huge_pages(std::byte* address, std::uint64_t bytes) {
  const auto start = reinterpret_cast<std::uint64_t>(address);
  const std::uint64_t head = std::min(round_up(start, kHugePageBytes) - start, bytes);
  const std::uint64_t huge = bytes < kLeastHugeBlock ? 0 : (bytes - head) / kHugePageBytes * kHugePageBytes;
  if (huge == 0) {
    madvise(address, bytes, MADV_NOHUGEPAGE);
    return;
  }
  if (head > 0) madvise(address, head, MADV_NOHUGEPAGE);
  madvise(address + head, huge, MADV_HUGEPAGE);
  if (head + huge < bytes) madvise(address + head + huge, bytes - head - huge, MADV_NOHUGEPAGE);
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

void give_back(std::byte* address, std::uint64_t bytes) noexcept {
  unmap(address, bytes);
  mapped_bytes_now -= bytes;
}

}  // namespace

std::uint64_t PageBlock::mapped_bytes() { return mapped_bytes_now; }

PageBlock::PageBlock(std::uint64_t bytes) {
  if (bytes % kPageBytes != 0) throw StateError(StateError::Cause::kBug, "a page block of " + format_bytes(bytes));
  if (bytes == 0) return;
  std::byte* const address = bytes < kLeastHugeBlock ? map(bytes) : map_at_offset(bytes, kHugePageBytes, next_offset());
  advise_huge_pages(address, bytes);
  mapped_bytes_now += bytes;
  if (!populate(address, bytes)) {
    give_back(address, bytes);
    throw std::bad_alloc();
  }
  static std::atomic<std::uint64_t> mappings{0};
  data_ = address;
  bytes_ = bytes;
  mapping_ = ++mappings;
}

PageBlock::PageBlock(PageBlock&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      mapping_(std::exchange(other.mapping_, 0)) {}

PageBlock& PageBlock::operator=(PageBlock&& other) noexcept {
  if (this == &other) return *this;
  give_back(data_, bytes_);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  mapping_ = std::exchange(other.mapping_, 0);
  return *this;
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
  return rest;
}

bool PageBlock::can_join(const PageBlock& next) const {
  return mapping_ == next.mapping_ && data_ + bytes_ == next.data_;
}

void PageBlock::join(PageBlock next) {
  bytes_ += std::exchange(next.bytes_, 0);
  next.data_ = nullptr;
}

PageBlock::~PageBlock() { give_back(data_, bytes_); }

}  // namespace asterias::device
