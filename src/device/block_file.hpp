// A preallocated file that is read and written in large aligned blocks, many at once, past the page cache.
//
// It knows bytes and offsets, nothing of chunks: chunk/swap_space.hpp decides what lies where. Implementations differ
// in how they submit (RingBlockFile: io_uring; ThreadBlockFile: a pread/pwrite thread pool), and all pass
// tests/device/block_file_suite.hpp.
//
// Invariants
//   * A ticket completes only when every byte has been transferred: short reads and writes are resubmitted.
//   * A failure surfaces as IoError with errno, path and offset in the ticket; other requests go on.
//   * Offsets, sizes and addresses are multiples of kBlockFileAlignment.
//   * What somebody waits for (Ticket::hurry) goes before what nobody does.
//
// Threading: thread-safe. Requests on overlapping ranges are not ordered; the caller waits for the first.
// Units: bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/io_engine.hpp"
#include "device/ticket.hpp"

namespace asterias::device {

inline constexpr std::uint64_t kBlockFileAlignment = 4096;

class IoRing;

struct BlockFileOptions {
  int queue_depth = 8;                          // requests in flight
  std::uint64_t block_bytes = 4 * 1024 * 1024;  // requests are cut into equal blocks, of 3/4 to 3/2 of this
  bool direct = true;                           // O_DIRECT; where refused, buffered plus DONTNEED with one log line
  IoEngine engine = IoEngine::kAuto;
};

// What really happens below: the system calls, or a test's faults (short transfers, EIO, ENOSPC, delays).
class FileCalls {
 public:
  virtual ~FileCalls() = default;
  virtual std::int64_t pread(int fd, void* into, std::size_t bytes, std::uint64_t offset);         // -errno on failure
  virtual std::int64_t pwrite(int fd, const void* from, std::size_t bytes, std::uint64_t offset);  // -errno on failure
  virtual int allocate(int fd, std::uint64_t offset, std::uint64_t bytes);                         // 0 or errno
  virtual std::unique_ptr<IoRing> open_ring(int depth);  // as open_io_ring(); its transfers pass by pread and pwrite
};

class BlockFile {
 public:
  BlockFile() = default;
  BlockFile(const BlockFile&) = delete;
  BlockFile& operator=(const BlockFile&) = delete;
  virtual ~BlockFile() = default;  // waits for what is in flight

  // Starts a transfer and returns at once. The memory must stay valid until the ticket is done.
  virtual Ticket read(std::uint64_t offset, std::span<std::byte> into) = 0;
  virtual Ticket write(std::uint64_t offset, std::span<const std::byte> from) = 0;

  // Makes sure that `bytes` from the start are allocated on the drive; throws IoError (ENOSPC when the drive is full).
  virtual void grow(std::uint64_t bytes) = 0;

  virtual const std::string& path() const = 0;
};

// Creates the swap file of this process in `directory` and starts what options.engine names. kAuto takes threads, with
// one log line, where the system allows no io_uring, and without one where the file is not read and written by
// O_DIRECT.
//
// The file is named "asterias-<host>-<pid>-<n>.swap", starts with a 4096-byte header (magic, version, pid, host, start
// time of the process, creation time) that callers never see (offset 0 of the interface lies after it), and is held
// under flock. Files of dead runs in the same folder (right magic, lock free) are deleted with one log line; a file of
// a live run is left alone; a file that matches the name but not the magic is left alone with a warning. The destructor
// deletes the file. Throws ConfigError when the folder is missing, not writable or a tmpfs/ramfs, when an
// option is out of range, and when kIoUring cannot be had; IoError for the rest.
std::unique_ptr<BlockFile> create_swap_file(const std::string& directory, const BlockFileOptions& options,
                                            std::shared_ptr<FileCalls> calls = std::make_shared<FileCalls>());

}  // namespace asterias::device
