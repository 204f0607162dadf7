// A locked file of this process in a folder for swapping: created, named, headed, grown, and deleted at the end.
//
// It knows nothing of reads and writes; implementations of BlockFile (block_file.hpp) own one and work on its
// descriptor.
//
// Invariants
//   * The file is under flock from before it is visible as *.swap until after it is unlinked.
//   * Bytes 0 to kSwapFileHeaderBytes are the header (swap_file_header.hpp).
//
// Threading: grow() is thread-safe, all else is const after construction.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "device/block_file.hpp"
#include "device/file_descriptor.hpp"

namespace asterias::device {

class SwapFile {
 public:
  // Cleans `directory` of dead runs' files, then creates one. `direct` asks for O_DIRECT; where the file system refuses
  // it, the file is buffered, with one log line. Throws ConfigError for a folder that cannot serve, IoError for the
  // rest.
  SwapFile(const std::string& directory, bool direct, FileCalls& calls);
  SwapFile(const SwapFile&) = delete;
  SwapFile& operator=(const SwapFile&) = delete;
  ~SwapFile();  // unlinks the file, unless this is a forked child

  // Allocates `bytes` after the header on the drive, if they are not there yet; where the file system cannot
  // preallocate, makes the file as long, with one log line. Throws IoError, and then the file is as it was.
  void grow(std::uint64_t bytes, FileCalls& calls);

  int descriptor() const { return file_.get(); }
  const std::string& path() const { return path_; }
  bool direct() const { return direct_; }

 private:
  void create_new(const std::string& directory);
  void write_header(FileCalls& calls);
  void make_visible(const std::string& directory);
  void extend(std::uint64_t from_bytes, std::uint64_t to_bytes, FileCalls& calls);

  FileDescriptor file_;
  std::string path_;
  bool direct_;
  int owner_pid_;
  std::mutex grow_mutex_;
  std::uint64_t file_bytes_;  // under grow_mutex_; with the header
};

}  // namespace asterias::device
