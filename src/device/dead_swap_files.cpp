#include "device/dead_swap_files.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/byte_size.hpp"
#include "base/log.hpp"
#include "device/file_descriptor.hpp"
#include "device/swap_file_header.hpp"

namespace asterias::device {
namespace {

constexpr std::time_t kYoungSeconds = 60;

bool is_ours_by_name(std::string_view name) {
  return name.starts_with(kSwapFilePrefix) && (name.ends_with(kSwapFileSuffix) || name.ends_with(kNewSwapFileSuffix));
}

std::optional<struct stat> status_of(const FileDescriptor& file) {
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return std::nullopt;
  return status;
}

bool may_be_about_to_be_locked(const std::string& path, const struct stat& status) {
  return path.ends_with(kNewSwapFileSuffix) && std::time(nullptr) - status.st_mtime < kYoungSeconds;
}

std::optional<SwapFileHeader> read_header(const FileDescriptor& file) {
  std::array<std::byte, sizeof(SwapFileHeader)> block;
  if (pread(file.get(), block.data(), block.size(), 0) != static_cast<ssize_t>(block.size())) return std::nullopt;
  return parse_swap_file_header(block);
}

// flock reaches other hosts on none of these for sure (statfs(2) and the kernel's magic.h).
bool is_network_drive(const FileDescriptor& file) {
  constexpr std::array<std::uint32_t, 7> kMagics{0x6969,     0x0BD00BD0, 0xFF534D42, 0xFE534D42,
                                                 0x00C36400, 0x65735546, 0x47504653};
  struct statfs drive {};
  if (fstatfs(file.get(), &drive) != 0) return true;
  return std::find(kMagics.begin(), kMagics.end(), static_cast<std::uint32_t>(drive.f_type)) != kMagics.end();
}

bool may_live_on_another_host(const FileDescriptor& file, const SwapFileHeader& header) {
  return header.host != own_swap_file_header().host && is_network_drive(file);
}

void delete_dead(const std::string& path, const struct stat& status) {
  const auto bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
  if (unlink(path.c_str()) == 0)
    log::warning("deleted " + path + " of a run that has ended (" + format_bytes(bytes) + ")");
}

// REQUIRES: the lock of `file` is held and `path` names it.
void clean_locked(const FileDescriptor& file, const std::string& path, const struct stat& status) {
  const bool died_before_its_header = status.st_size == 0 && path.ends_with(kNewSwapFileSuffix);
  const auto header = read_header(file);
  if (!header && !died_before_its_header)
    return log::warning(path + " is named like a swap file of Asterias but is none; it is left alone");
  if (header && may_live_on_another_host(file, *header)) return;
  delete_dead(path, status);
}

void clean_one(const std::string& path) {
  // O_NONBLOCK: a pipe of that name must not hang us.
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file) return;  // gone meanwhile, or another user's
  const auto before = status_of(file);
  if (!before || !S_ISREG(before->st_mode) || may_be_about_to_be_locked(path, *before)) return;
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) return;  // its run lives
  const auto status = status_of(file);
  if (!status || status->st_nlink == 0)
    return;  // unlinked between open and lock: the name may be somebody else's by now
  clean_locked(file, path, *status);
}

}  // namespace

void clean_dead_swap_files(const std::string& directory) {
  std::error_code ignored;
  std::filesystem::directory_iterator entry(directory, ignored);
  for (const std::filesystem::directory_iterator end; !ignored && entry != end; entry.increment(ignored))
    if (is_ours_by_name(entry->path().filename().string())) clean_one(entry->path().string());
}

}  // namespace asterias::device
