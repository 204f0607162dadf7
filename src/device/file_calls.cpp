#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include "device/block_file.hpp"
#include "device/io_ring.hpp"

namespace asterias::device {
namespace {

std::int64_t moved_or_error(ssize_t moved) { return moved < 0 ? -errno : moved; }

}  // namespace

std::int64_t FileCalls::pread(int fd, void* into, std::size_t bytes, std::uint64_t offset) {
  return moved_or_error(::pread(fd, into, bytes, static_cast<off_t>(offset)));
}

std::int64_t FileCalls::pwrite(int fd, const void* from, std::size_t bytes, std::uint64_t offset) {
  return moved_or_error(::pwrite(fd, from, bytes, static_cast<off_t>(offset)));
}

// Not posix_fallocate: where the file system cannot, glibc writes a byte into each block, which O_DIRECT refuses.
int FileCalls::allocate(int fd, std::uint64_t offset, std::uint64_t bytes) {
  return fallocate(fd, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
}

std::unique_ptr<IoRing> FileCalls::open_ring(int depth) { return open_io_ring(depth); }

}  // namespace asterias::device
