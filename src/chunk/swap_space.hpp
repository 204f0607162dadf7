// The NVMe tier: which bytes of which swap file belong to whom.
//
// Not a cache and not a policy. A payload may be cut into several extents, so free space is never lost to
// fragmentation; with several files (one per drive) a payload is striped over them.
//
// Invariants
//   * used_bytes() is the sum of all living Extents and stays below the limit, except through take_beyond_limit.
//   * Living Extents never overlap. Files grow on demand and never shrink; together they never pass the limit (same
//     exception).
//
// Threading: thread-safe; transfers complete on the files' own threads. Units: bytes, rounded up to
// device::kBlockFileAlignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/node_pool.hpp"
#include "chunk/move_ticket.hpp"
#include "device/block_file.hpp"

namespace asterias::chunk {

class SwapSpace;

// Room on the drives owned by somebody; returns when it dies. Move-only.
class Extents {
 public:
  Extents() = default;
  Extents(Extents&&) noexcept;
  Extents& operator=(Extents&&) noexcept;
  Extents(const Extents&) = delete;
  Extents& operator=(const Extents&) = delete;
  ~Extents();

  std::uint64_t bytes() const { return bytes_; }
  explicit operator bool() const { return bytes_ != 0; }

 private:
  friend class SwapSpace;
  struct Piece {
    std::uint32_t file;
    std::uint64_t offset;
    std::uint64_t bytes;
  };
  void give_back() noexcept;

  SwapSpace* space_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::pmr::vector<Piece> pieces_{node_pool()};
};

class SwapSpace {
 public:
  static constexpr std::uint64_t kUnlimited = UINT64_MAX;
  // A stripe is the least that goes to one drive at once; smaller payloads stay whole.
  static constexpr std::uint64_t kStripeBytes = 1024 * 1024;

  SwapSpace(std::vector<std::unique_ptr<device::BlockFile>> files, std::uint64_t limit_bytes);
  SwapSpace(const SwapSpace&) = delete;
  SwapSpace& operator=(const SwapSpace&) = delete;

  // Takes room for `bytes` (> 0). Empty when the limit does not allow it; IoError when the drive is full.
  std::optional<Extents> try_take(std::uint64_t bytes);
  Extents take_beyond_limit(std::uint64_t bytes);

  // Starts a transfer of extents.bytes() bytes; memory and extents must stay until the ticket is done.
  MoveTicket write(const Extents& extents, std::span<const std::byte> from);
  MoveTicket read(const Extents& extents, std::span<std::byte> into);

  std::uint64_t limit_bytes() const { return limit_bytes_; }
  std::uint64_t used_bytes() const;
  std::uint64_t peak_used_bytes() const;  // since reset_peak
  void reset_peak();
  static std::uint64_t charge(std::uint64_t bytes);

 private:
  friend class Extents;
  using Holes = std::pmr::map<std::uint64_t, std::uint64_t>;  // offset -> bytes
  struct File {
    std::unique_ptr<device::BlockFile> file;
    std::uint64_t end = 0;     // allocated on the drive
    Holes holes{node_pool()};  // free ranges below end
  };

  Extents take(std::uint64_t charged);
  void take_from(std::uint32_t drive, std::uint64_t bytes, Extents& into);
  void take_hole(std::uint32_t drive, Holes::iterator hole, std::uint64_t bytes, Extents& into);
  void grow(std::uint32_t drive, std::uint64_t bytes);
  bool grow_by(std::uint32_t drive, std::uint64_t bytes, bool must);
  std::uint32_t next_drive(std::uint32_t drive) const {
    return (drive + 1) % static_cast<std::uint32_t>(files_.size());
  }
  void give(const Extents::Piece& piece) noexcept;

  const std::uint64_t limit_bytes_;
  mutable std::mutex mutex_;
  std::vector<File> files_;
  std::uint32_t next_file_ = 0;   // small payloads take the drives in turn
  std::uint64_t free_bytes_ = 0;  // of all holes
  std::uint64_t used_bytes_ = 0;
  std::uint64_t peak_used_bytes_ = 0;
};

}  // namespace asterias::chunk
