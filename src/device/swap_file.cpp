#include "device/swap_file.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/magic.h>
#include <span>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "device/block_alignment.hpp"
#include "device/dead_swap_files.hpp"
#include "device/swap_file_header.hpp"

namespace asterias::device {
namespace {

void require_folder(const std::string& directory) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0)
    throw ConfigError("tiers.nvme.path: " + directory + ": " + std::strerror(errno) + "; name a folder that exists");
  if (!S_ISDIR(status.st_mode)) throw ConfigError("tiers.nvme.path: " + directory + " is not a folder");
  if (access(directory.c_str(), W_OK | X_OK) != 0)
    throw ConfigError("tiers.nvme.path: " + directory + " cannot be written to: " + std::strerror(errno));
}

void require_a_drive(const std::string& directory) {
  struct statfs drive {};
  if (statfs(directory.c_str(), &drive) != 0) throw IoError(errno, directory, 0, "looking at the file system of");
  const auto magic = static_cast<std::uint32_t>(drive.f_type);
  if (magic == TMPFS_MAGIC || magic == static_cast<std::uint32_t>(RAMFS_MAGIC))
    throw ConfigError(
        "tiers.nvme.path: " + directory +
        " lies in memory (tmpfs), so swapping to it frees nothing; name a folder on a drive, or leave out "
        "tiers.nvme and raise tiers.cpu.limit");
}

std::string next_path(const std::string& directory, std::string_view suffix) {
  static std::atomic<int> number{0};
  std::string path = directory + "/";
  path += kSwapFilePrefix;
  path += host_in_file_names() + "-" + std::to_string(getpid()) + "-" + std::to_string(number++);
  return path += suffix;
}

// Two containers may share a folder, a host name and a pid, so a taken name is the next number's turn, never an error.
FileDescriptor open_new(const std::string& directory, int flags, std::string& path) {
  for (;;) {
    path = next_path(directory, kNewSwapFileSuffix);
    const int number = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600);
    if (number >= 0 || (errno != EEXIST && errno != EINTR)) return FileDescriptor(number);
  }
}

void lock_file(const FileDescriptor& file, const std::string& path) {
  while (flock(file.get(), LOCK_EX) != 0)
    if (errno != EINTR) throw IoError(errno, path, 0, "locking");
}

// Not every file system can rename without replacing; a hard link cannot replace either.
bool rename_to_free_name(const std::string& from, const std::string& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  if (link(from.c_str(), to.c_str()) != 0) return false;
  unlink(from.c_str());
  return true;
}

// Writes `block` to the start of the file, in as many calls as it takes. Returns 0 or -errno.
std::int64_t write_start(const FileDescriptor& file, std::span<const std::byte> block, FileCalls& calls) {
  for (std::size_t done = 0; done < block.size();) {
    const auto written = calls.pwrite(file.get(), block.data() + done, block.size() - done, done);
    if (written == -EINTR) continue;
    if (written <= 0) return written < 0 ? written : -EIO;
    done += static_cast<std::size_t>(written);
  }
  return 0;
}

}  // namespace

SwapFile::SwapFile(const std::string& directory, bool direct, FileCalls& calls)
    : direct_(direct), owner_pid_(getpid()), file_bytes_(kSwapFileHeaderBytes) {
  require_folder(directory);
  require_a_drive(directory);
  clean_dead_swap_files(directory);
  create_new(directory);
  try {
    lock_file(file_, path_);
    write_header(calls);
    make_visible(directory);
  } catch (...) {
    unlink(path_.c_str());
    throw;
  }
  if (direct && !direct_)
    log::warning("O_DIRECT is refused for " + path_ +
                 "; it is read and written through the page cache, which is slower");
}

SwapFile::~SwapFile() {
  if (getpid() == owner_pid_) unlink(path_.c_str());
}

void SwapFile::create_new(const std::string& directory) {
  file_ = open_new(directory, direct_ ? O_DIRECT : 0, path_);
  if (!file_ && errno == EINVAL && direct_) {
    unlink(path_.c_str());  // open(2) may create the file before it refuses O_DIRECT
    direct_ = false;
    file_ = open_new(directory, 0, path_);
  }
  // ENOENT although the folder is there: /proc and its like make no files.
  if (!file_ && (errno == EACCES || errno == EROFS || errno == EPERM || errno == ENOENT))
    throw ConfigError("tiers.nvme.path: no file can be created in " + directory + ": " + std::strerror(errno));
  if (!file_) throw IoError(errno, path_, 0, "creating");
}

// The header is also the probe for O_DIRECT: some file systems take the flag at open and refuse the first transfer.
void SwapFile::write_header(FileCalls& calls) {
  alignas(kSwapFileHeaderBytes) std::array<std::byte, kSwapFileHeaderBytes> block{};
  const SwapFileHeader header = own_swap_file_header();
  std::memcpy(block.data(), &header, sizeof header);
  auto failed = write_start(file_, block, calls);
  if (failed == -EINVAL && direct_) {
    fcntl(file_.get(), F_SETFL, fcntl(file_.get(), F_GETFL) & ~O_DIRECT);
    direct_ = false;
    failed = write_start(file_, block, calls);
  }
  if (failed != 0) throw IoError(static_cast<int>(-failed), path_, 0, "writing the header of");
}

void SwapFile::make_visible(const std::string& directory) {
  for (;;) {
    const std::string visible = next_path(directory, kSwapFileSuffix);
    if (rename_to_free_name(path_, visible)) {
      path_ = visible;
      return;
    }
    if (errno != EEXIST) throw IoError(errno, path_, 0, "renaming to " + visible + " of");
  }
}

void SwapFile::grow(std::uint64_t bytes, FileCalls& calls) {
  require_aligned("the file size", bytes);
  const std::lock_guard lock(grow_mutex_);
  const std::uint64_t wanted = kSwapFileHeaderBytes + bytes;
  if (wanted <= file_bytes_) return;
  extend(file_bytes_, wanted, calls);
  file_bytes_ = wanted;
}

void SwapFile::extend(std::uint64_t from_bytes, std::uint64_t to_bytes, FileCalls& calls) {
  int error_number = EINTR;
  while (error_number == EINTR) error_number = calls.allocate(file_.get(), from_bytes, to_bytes - from_bytes);
  if (error_number == 0) return;
  const bool cannot_preallocate = error_number == EOPNOTSUPP;
  // Also after ENOSPC: what was allocated before the drive was full goes back to it.
  const bool resized = ftruncate(file_.get(), static_cast<off_t>(cannot_preallocate ? to_bytes : from_bytes)) == 0;
  if (!cannot_preallocate)
    throw IoError(error_number, path_, from_bytes, "growing to " + std::to_string(to_bytes) + " bytes");
  if (!resized) throw IoError(errno, path_, from_bytes, "growing to " + std::to_string(to_bytes) + " bytes");
  log::warning("the file system of " + path_ +
               " cannot preallocate; a full drive will show only when it is written to");
}

}  // namespace asterias::device
